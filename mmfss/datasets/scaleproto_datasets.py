"""Datasets of ScaleProtoSeg that MMSegmentation lacks, or has in another form."""
from typing import Any, List

from mmseg.datasets import BaseSegDataset, COCOStuffDataset

from mmfss.registry import DATASETS

UNUSED_COCO_IDS = {
    12: 'street sign', 26: 'hat', 29: 'shoe', 30: 'eye glasses', 45: 'plate', 66: 'mirror', 68: 'window', 69: 'desk',
    71: 'door', 83: 'blender', 91: 'hair brush'
}


def _all_coco_names() -> List[str]:
    """List the names of the COCO category ids 1 to 182: MMSegmentation's 171, and those that no image shows."""
    used = iter(COCOStuffDataset.METAINFO['classes'])
    return [UNUSED_COCO_IDS.get(number) or next(used) for number in range(1, 183)]


@DATASETS.register_module()
class COCOStuff182Dataset(BaseSegDataset):
    """Read COCO-Stuff 164k with raw ids: label i is COCO category i + 1, also of the eleven that are not annotated.

    .. code-block:: none

        coco_stuff164k                            data_root
        ├── images/{train,val}2017/*.jpg
        └── annotations/{train,val}2017/*.png     stuffthingmaps as published: 0 to 181, 255 without label

    MMSegmentation's ``COCOStuffDataset`` has 171 classes and needs converted files.

    Args:
        **kwargs: See MMSegmentation's ``BaseSegDataset``.
    """

    METAINFO = dict(classes=tuple(_all_coco_names()))

    def __init__(self, img_suffix: str = '.jpg', seg_map_suffix: str = '.png', **kwargs: Any) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)


@DATASETS.register_module()
class ISBIEMDataset(BaseSegDataset):
    """Read slices of the ISBI 2012 electron microscopy challenge: cell membranes and the cells between them.

    .. code-block:: none

        isbi_em                        data_root, made by tools/dataset_converters/isbi_em.py
        ├── images/{train,val}/*.png
        └── labels/{train,val}/*.png   0 membrane, 1 cell

    Args:
        **kwargs: See MMSegmentation's ``BaseSegDataset``.
    """

    METAINFO = dict(classes=('membrane', 'cell'), palette=[[0, 0, 0], [255, 255, 255]])

    def __init__(self, img_suffix: str = '.png', seg_map_suffix: str = '.png', **kwargs: Any) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

"""PASCAL VOC 2012 with masks for some images and labels of the image for all."""
from pathlib import Path
from typing import Any, Sequence, Union

from mmseg.datasets import BaseSegDataset, PascalVOCDataset

from mmfss.registry import DATASETS
from mmfss.utils.files import read_text
from .image_labels import read_voc_labels


@DATASETS.register_module()
class VOCPartialDataset(BaseSegDataset):
    """List the images of VOC that have an XML annotation or a mask, except those of the test set.

    .. code-block:: none

        VOC2012                        data_root
        ├── JPEGImages/*.jpg
        ├── Annotations/*.xml          objects of the image
        ├── SegmentationClass/*.png    0 to 20, 255 void; for some images
        └── ImageSets/Segmentation/val.txt

    With the whole VOC 2012 these are 15,676 images, 1,464 of them with a mask.

    Args:
        exclude (str | Sequence[str]): Lists of images that are left out, below ``data_root``.
        num_images (int, optional): How many images there must be; 15676 for the whole VOC 2012. Not checked by default.
        **kwargs: See MMSegmentation's ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If an image has neither an annotation nor a mask; names it.
        ValueError: If an annotation is damaged or names an unknown class, or the number of images is another.
    """

    METAINFO = PascalVOCDataset.METAINFO

    def __init__(self,
                 data_root: str,
                 exclude: Union[str, Sequence[str]] = 'ImageSets/Segmentation/val.txt',
                 num_images: int | None = None,
                 **kwargs: Any) -> None:
        self.exclude = [exclude] if isinstance(exclude, str) else list(exclude)
        self.num_images = num_images
        prefix = dict(img_path='JPEGImages', seg_map_path='SegmentationClass', xml_path='Annotations')
        super().__init__(img_suffix='.jpg', seg_map_suffix='.png', data_root=data_root,
                         data_prefix=dict(prefix, **kwargs.pop('data_prefix', {})), **kwargs)

    def load_data_list(self) -> list[dict]:
        """List paths and image-level labels, in the order of the names."""
        left_out = {name for path in self.exclude for name in read_text(Path(self.data_root) / path).split()}
        images, masks, annotations = (Path(self.data_prefix[key]) for key in ('img_path', 'seg_map_path', 'xml_path'))
        entries = []
        for image in sorted(images.glob('*.jpg')):
            if image.stem in left_out:
                continue
            mask, annotation = masks / f'{image.stem}.png', annotations / f'{image.stem}.xml'
            labels = read_voc_labels(annotation, self.metainfo['classes']) if annotation.is_file() else None
            if labels is None and not mask.is_file():
                raise FileNotFoundError(f'The image "{image}" has neither an annotation ("{annotation}") nor a mask '
                                        f'("{mask}"). Add one of them, or list the image in a file of `exclude`.')
            entries.append(dict(img_path=str(image), seg_map_path=str(mask) if mask.is_file() else None,
                                image_labels=labels, label_map=None, reduce_zero_label=False, seg_fields=[]))
        if self.num_images not in (None, len(entries)):
            raise ValueError(f'"{images}" has {len(entries)} images for training, not num_images={self.num_images}.')
        return entries

"""The embedded shapes as a semantic segmentation dataset."""
from typing import Any, Dict, List

import numpy as np
from mmseg.datasets import BaseSegDataset

from mmfss.registry import DATASETS
from .classes import FAMILIES, MEMBERS
from .dataset import ShapesIndex

FAMILY_NAMES = tuple('-'.join(adjective for adjective, _ in family) for family in FAMILIES)
NUM_PARTS = 4
"""Parts of an object: its upper left, upper right, lower left and lower right quarter."""


@DATASETS.register_module()
class ShapesSegDataset(BaseSegDataset):
    """Label every pixel of the shapes: background, or one of the sixteen families of related patterns.

    The images are those of :class:`ShapesDataset`, made under ``data_root`` if they are not there (about ten seconds).
    Objects also have parts, for metrics of interpretability: the four quarters of each, cut at the centre of what is
    seen of it, numbered 1 to 4 from the upper left, row by row; background has none (0).

    Args:
        data_root (str): Folder of the data.
        part (str): ``'train'`` or ``'val'``.
        index (dict, optional): Further arguments of :class:`ShapesIndex`.
        **kwargs: See MMSegmentation's ``BaseSegDataset``. The pipeline starts with ``gt_seg_map`` (H, W) in place,
            uint8, and ``gt_part_map``; it needs no loading of annotations.
    """

    METAINFO = dict(classes=('background', *FAMILY_NAMES))

    def __init__(self, data_root: str, part: str = 'train', index: Dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.shapes = ShapesIndex(data_root, part, **(index or {}))
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> List[Dict]:
        """Paths of the images and the families in them, in the order of their names."""
        return [
            dict(img_path=self.shapes.image_path(name), name=name, label_map=None, reduce_zero_label=False,
                 seg_fields=[], image_labels=self._families(name)) for name in self.shapes.image_names()
        ]

    def _families(self, name: str) -> tuple[int, ...]:
        """Families of the objects in an image, ascending."""
        return tuple(sorted({class_id // MEMBERS + 1 for class_id in self.shapes.class_pixels(name)}))

    def prepare_data(self, idx: int) -> Any:
        """The image's info with its labels, through the pipeline."""
        info = self.get_data_info(idx)
        classes = self.shapes.load_label_map(info['name'], range(len(self.shapes.classes)))
        info['gt_seg_map'] = np.where(classes > 0, (classes.astype(int) - 1) // MEMBERS + 1, 0).astype(np.uint8)
        info['gt_part_map'] = quarters(classes)
        info['seg_fields'] = ['gt_seg_map', 'gt_part_map']
        return self.pipeline(info)


def quarters(labels: np.ndarray) -> np.ndarray:
    """Cut every object in four at its centre of mass.

    Args:
        labels (np.ndarray): A label for every object, 0 elsewhere, shape (H, W).

    Returns:
        np.ndarray: 1 to 4, row by row, 0 outside the objects, shape (H, W), uint8.
    """
    parts = np.zeros(labels.shape, np.uint8)
    for label in np.unique(labels[labels > 0]):
        rows, cols = np.nonzero(labels == label)
        parts[rows, cols] = 1 + 2 * (rows > rows.mean()) + (cols > cols.mean())
    return parts

"""Loading and packing of masks that some images lack."""
from typing import Any, Sequence

import numpy as np
import torch
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs

from mmfss.registry import TRANSFORMS
from ..partial_labels.image_labels import labels_of_map

VOID = 255


@TRANSFORMS.register_module()
class LoadPartialAnnotations(LoadAnnotations):
    """Load the mask of an image that has one; pixels of the others are all without a label (255).

    Required keys: ``img``; ``seg_map_path``, or ``gt_seg_map`` if the dataset makes it itself; optional: ``has_mask``,
    see :class:`PartialLabelDataset`. Added keys: ``gt_seg_map``, in ``seg_fields``.

    Args:
        void (str): What void pixels (255) of a mask are: ``'ignore'`` leaves them without a label; ``'background'``
            makes them class 0, as published, in training and in testing.
        **kwargs: See MMSegmentation's ``LoadAnnotations``.

    Raises:
        ValueError: If ``void`` is something else.
    """

    def __init__(self, void: str = 'ignore', **kwargs: Any) -> None:
        if void not in ('ignore', 'background'):
            raise ValueError(f"void must be 'ignore' or 'background', got {void!r}.")
        super().__init__(**kwargs)
        self.void = void

    def _load_seg_map(self, results: dict) -> None:
        if not results.get('has_mask', True):
            results['gt_seg_map'] = np.full(results['img'].shape[:2], VOID, np.uint8)
        else:
            if 'gt_seg_map' not in results:
                super()._load_seg_map(results)
            if self.void == 'background':
                results['gt_seg_map'] = np.where(results['gt_seg_map'] == VOID, 0, results['gt_seg_map'])
        if 'gt_seg_map' not in results['seg_fields']:
            results['seg_fields'].append('gt_seg_map')


@TRANSFORMS.register_module()
class PackPartialLabels(PackSegInputs):
    """Pack inputs like MMSegmentation's ``PackSegInputs``, with labels of the whole image.

    ``gt_image_labels`` (num_classes,) of the sample is 1 for the classes in the image: those in the mask as it is now
    (cropped), or for an image without one those of the whole image. Class 0, the background, is in every image.

    Args:
        num_classes (int): Number of classes, background included.
        background (bool): False if class 0 is a class like others.
        meta_keys (Sequence[str]): See ``PackSegInputs``.
    """

    def __init__(self, num_classes: int, background: bool = True,
                 meta_keys: Sequence[str] = ('img_path', 'ori_shape', 'img_shape', 'flip', 'flip_direction')) -> None:
        super().__init__(meta_keys)
        self.num_classes, self.background = num_classes, background

    def transform(self, results: dict) -> dict:
        """Pack the inputs."""
        packed = super().transform(results)
        labels = torch.zeros(self.num_classes, dtype=torch.int64)
        if results.get('has_mask', True):
            present = labels_of_map(results['gt_seg_map'], self.num_classes)
            labels[0] = int((results['gt_seg_map'] == 0).any())
        else:
            present = results['image_labels']
        labels[list(present)] = 1
        if self.background:
            labels[0] = 1
        packed['data_samples'].gt_image_labels = labels
        packed['data_samples'].set_metainfo(dict(has_mask=bool(results.get('has_mask', True))))
        return packed

"""Loading the images and class masks of an episode."""
from typing import Dict

import numpy as np
from mmcv.transforms import BaseTransform

from mmfss.registry import TRANSFORMS
from ..images import read_image
from .resize import resize_nearest


@TRANSFORMS.register_module()
class LoadEpisodeImage(BaseTransform):
    """Load one image with Pillow, as the published evaluations do: OpenCV decodes some JPEG files differently.

    Required keys: ``img_path``. Added keys: ``img`` (H, W, 3) uint8 BGR, ``img_shape`` and ``ori_shape`` (H, W).

    Args:
        color_type (str): ``'color_ignore_orientation'`` (the stored orientation) or ``'color'`` (upright by EXIF).
    """

    def __init__(self, color_type: str = 'color_ignore_orientation') -> None:
        if color_type not in ('color', 'color_ignore_orientation'):
            raise ValueError(f"color_type must be 'color' or 'color_ignore_orientation', got {color_type!r}.")
        self.color_type = color_type

    def transform(self, results: Dict) -> Dict:
        """Load the image; a file that cannot be read is an error that names it."""
        image = read_image(results['img_path'], self.color_type)
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(color_type='{self.color_type}')"


@TRANSFORMS.register_module()
class LoadClassMask(BaseTransform):
    """Load the mask of an episode's classes in one image, at its original size.

    Required keys: ``class_index``, ``name``, ``mask_class_ids`` (all N classes for the query, one for a support),
    ``role`` (``'query'`` or ``'support'``) and, to compare sizes, ``img``. Added keys: ``gt_seg_map`` (H, W) uint8 (0
    background, n the n-th class, 255 ignored), ``seg_fields``, and ``gt_seg_map_ori`` if asked for.

    Where the class index allows masks of another size than their image (FSS-1000), such a mask is resized to it
    (nearest neighbour). ``stored_seg_map`` keeps the mask as stored, from which :class:`ResizeEpisodeImage` takes its
    pixels in one step, as the released loader does.

    Args:
        keep_original (bool): Keep the query's mask also at its original size, for metrics at that size.
    """

    def __init__(self, keep_original: bool = False) -> None:
        self.keep_original = keep_original

    def transform(self, results: Dict) -> Dict:
        """Load and check the mask.

        Raises:
            ValueError: If image and mask differ in size, or a support mask has no pixel of its class.
        """
        mask = results['class_index'].load_label_map(results['name'], results['mask_class_ids'])
        results.pop('stored_seg_map', None)
        if results['class_index'].resizes_masks and 'img' in results and mask.shape != results['img'].shape[:2]:
            results['stored_seg_map'] = mask
            mask = resize_nearest(mask, results['img'].shape[:2])
        self._check(mask, results)
        results['gt_seg_map'] = mask
        results.setdefault('seg_fields', []).append('gt_seg_map')
        if self.keep_original and results['role'] == 'query':
            results['gt_seg_map_ori'] = mask.copy()
        return results

    def _check(self, mask: np.ndarray, results: Dict) -> None:
        index, class_ids = results['class_index'], results['mask_class_ids']
        mask_path = index.mask_path(results['name'], class_ids[0])
        if 'img' in results and mask.shape != results['img'].shape[:2]:
            raise ValueError(f'The mask of "{results["name"]}" in {mask_path} has size {mask.shape} (H, W), its image '
                             f'{results["img_path"]} has {results["img"].shape[:2]}. If one is the other turned by 90 '
                             "degrees, load images with color_type='color' (or 'color_ignore_orientation').")
        stored = results.get('stored_seg_map', mask)
        if results['role'] == 'support' and not (stored == 1).any():
            raise ValueError(f'The support mask of class "{index.classes[class_ids[0]]}" in image "{results["name"]}" '
                             f'is empty ({mask_path}). Correct the mask, or remove the image from the class.')

    def __repr__(self) -> str:
        return f'{type(self).__name__}(keep_original={self.keep_original})'

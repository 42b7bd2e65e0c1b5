"""Loading the images and class masks of an episode."""
from typing import Dict, Optional, Tuple

import numpy as np
from mmcv.transforms import BaseTransform

from mmfss.registry import TRANSFORMS
from ..images import read_reduced_image
from .resize import resize_nearest


@TRANSFORMS.register_module()
class LoadEpisodeImage(BaseTransform):
    """Load one image with Pillow, as the published evaluations do: OpenCV decodes some JPEG files differently.

    Required keys: ``img_path``; optional: ``upright``, whether images of this data are turned by their EXIF orientation
    (those of :class:`ImageFolderIndex` are). Added keys: ``img`` (H, W, 3) uint8 BGR, ``img_shape`` and ``ori_shape``
    (H, W), ``upright`` (bool), ``is_reduced`` (bool), whether ``img`` is smaller than the file.

    Args:
        color_type (str, optional): ``'color_ignore_orientation'`` (the stored orientation) or ``'color'`` (upright by
            EXIF); by default as the dataset defines, else the stored orientation.
        reduce_to (tuple[int, int], optional): (width, height) at which the network sees images: larger JPEG files are
            decoded at a half, a quarter or an eighth of their size, not below this one. Photographs of 12 megapixels
            load two to three times as fast; pixels differ slightly, so that results do not compare with those of
            whole pictures. ``ori_shape`` stays that of the file, and :class:`ResizeEpisodeImage` takes masks from their
            own pixels as before. By default pictures are decoded whole.
    """

    def __init__(self, color_type: Optional[str] = None, reduce_to: Optional[Tuple[int, int]] = None) -> None:
        if color_type not in (None, 'color', 'color_ignore_orientation'):
            raise ValueError(f"color_type must be 'color' or 'color_ignore_orientation', got {color_type!r}.")
        if reduce_to is not None and (len(reduce_to) != 2 or min(reduce_to) < 1):
            raise ValueError(f'reduce_to must be (width, height) in pixels, got {reduce_to}.')
        self.color_type = color_type
        self.reduce_to = None if reduce_to is None else tuple(reduce_to)

    def transform(self, results: Dict) -> Dict:
        """Load the image.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read, or ``color_type`` contradicts the dataset.
        """
        upright = results.get('upright')
        if self.color_type is not None:
            if upright not in (None, self.color_type == 'color'):
                raise ValueError(f"The pipeline loads images with color_type='{self.color_type}', but masks of these "
                                 f'data are {"" if upright else "not "}turned upright. Leave color_type out, and set '
                                 f'upright={not upright} in the dataset if that is what you want.')
            upright = self.color_type == 'color'
        color_type = 'color' if upright else 'color_ignore_orientation'
        results['img'], results['ori_shape'] = read_reduced_image(results['img_path'], self.reduce_to, color_type)
        results['img_shape'] = results['img'].shape[:2]
        results['is_reduced'] = results['img_shape'] != results['ori_shape']
        results['upright'] = bool(upright)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(color_type={self.color_type!r}, reduce_to={self.reduce_to})'


@TRANSFORMS.register_module()
class LoadClassMask(BaseTransform):
    """Load the mask of an episode's classes in one image, at its original size.

    Required keys: ``class_index``, ``name``, ``mask_class_ids`` (all N classes for the query, one for a support),
    ``role`` (``'query'`` or ``'support'``) and, to compare sizes, ``img``. Added keys: ``gt_seg_map`` (H, W) uint8 (0
    background, n the n-th class, 255 ignored), ``seg_fields``, and ``gt_seg_map_ori`` if asked for.

    Where the class index allows masks of another size than their image (FSS-1000), such a mask is resized to it
    (nearest neighbour), as is the mask of an image that was decoded at a reduced size. ``stored_seg_map`` keeps the
    mask as stored, from which :class:`ResizeEpisodeImage` takes its pixels in one step, as the released loader does.

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
        index = results['class_index']
        mask = stored = index.load_label_map(results['name'], results['mask_class_ids'])
        results.pop('stored_seg_map', None)
        self._check(mask, results)
        if 'img' in results and mask.shape != results['img'].shape[:2]:
            results['stored_seg_map'] = mask
            mask = resize_nearest(mask, results['img'].shape[:2])
        results['gt_seg_map'] = mask
        results.setdefault('seg_fields', []).append('gt_seg_map')
        if self.keep_original and results['role'] == 'query':
            is_reduced = results.get('is_reduced')
            results['gt_seg_map_ori'] = resize_nearest(stored, results['ori_shape']) if is_reduced else mask.copy()
        return results

    def _check(self, mask: np.ndarray, results: Dict) -> None:
        index, class_ids = results['class_index'], results['mask_class_ids']
        mask_path = index.mask_path(results['name'], class_ids[0])
        if 'img' in results and not index.resizes_masks:
            size = results['ori_shape'] if results.get('is_reduced') else results['img'].shape[:2]
            if mask.shape != size:
                raise ValueError(f'The mask of "{results["name"]}" in {mask_path} has size {mask.shape} (H, W), its '
                                 f'image {results["img_path"]} has {size}.{self._advice(results)}')
        if results['role'] == 'support' and not (mask == 1).any():
            raise ValueError(f'The support mask of class "{index.classes[class_ids[0]]}" in image "{results["name"]}" '
                             f'is empty ({mask_path}). Correct the mask, or remove the image from the class.')

    @staticmethod
    def _advice(results: Dict) -> str:
        """Advise what to try if one is the other turned by 90 degrees."""
        upright = results.get('upright')
        if results['class_index'].turns_upright is None:
            value = 'color_ignore_orientation' if upright else 'color'
            return f" If one is the other turned by 90 degrees, load images with color_type='{value}'."
        return (' If one is the other turned by 90 degrees, the mask was drawn on the '
                f'{"image as it is stored: set upright=False" if upright else "upright image: set upright=True"} '
                'in the dataset.')

    def __repr__(self) -> str:
        return f'{type(self).__name__}(keep_original={self.keep_original})'

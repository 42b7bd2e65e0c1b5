"""Squares of the largest possible size."""
from typing import Optional

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmfss.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SquareCrop(BaseTransform):
    """Cut a square out of the image, as large as its shorter side, and resize it.

    Modified keys: ``img``, ``img_shape`` and what ``seg_fields`` names (nearest neighbour).

    Args:
        size (int, optional): Side of the result in pixels; as cut out by default.
        random (bool): Cut at a random place; else at the centre.
        as_original (bool): The result also counts as the original size (``ori_shape``), at which predictions are
            evaluated, as in the published evaluation.
    """

    def __init__(self, size: Optional[int] = None, random: bool = False, as_original: bool = False) -> None:
        self.size, self.random, self.as_original = size, random, as_original

    @cache_randomness
    def _offset(self, room: int) -> int:
        return int(np.random.randint(room + 1)) if self.random else room // 2

    def transform(self, results: dict) -> dict:
        """Crop and resize."""
        height, width = results['img'].shape[:2]
        side = min(height, width)
        offset = self._offset(max(height, width) - side)
        top, left = (offset, 0) if height > width else (0, offset)
        size = self.size or side
        for key in ('img', *results.get('seg_fields', ())):
            square = results[key][top:top + side, left:left + side]
            interpolation = 'bilinear' if key == 'img' else 'nearest'
            results[key] = mmcv.imresize(square, (size, size), interpolation=interpolation, backend='cv2')
        results['img_shape'] = (size, size)
        if self.as_original:
            results['ori_shape'] = (size, size)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, random={self.random}, as_original={self.as_original})'

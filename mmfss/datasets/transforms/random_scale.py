"""Random enlargement by a factor of an image's own size."""
from typing import Dict, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.datasets.transforms import Resize

from mmfss.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomScale(BaseTransform):
    """Resize image and labels by a random factor, height and width truncated to whole pixels.

    MMCV's ``RandomResize`` starts from a fixed size, which only for images of that size is the same.

    Required keys: ``img`` and, if there are any, the maps of ``seg_fields``. The image is enlarged bilinearly, labels
    by nearest neighbours.

    Args:
        ratio_range (Sequence[float]): Smallest and largest factor, drawn uniformly.

    Raises:
        ValueError: If these are not two factors above 0 in ascending order.
    """

    def __init__(self, ratio_range: Sequence[float]) -> None:
        if len(ratio_range) != 2 or not 0 < ratio_range[0] <= ratio_range[1]:
            raise ValueError(f'ratio_range must be two factors above 0 in ascending order, got {ratio_range}.')
        self.ratio_range = tuple(ratio_range)

    def transform(self, results: Dict) -> Dict:
        """Resize by a factor drawn from NumPy's global generator."""
        factor = np.random.uniform(*self.ratio_range)
        height, width = (max(1, int(side * factor)) for side in results['img'].shape[:2])
        return Resize((width, height))(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(ratio_range={self.ratio_range})'

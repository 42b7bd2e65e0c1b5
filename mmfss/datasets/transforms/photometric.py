"""Photometric transforms with explicit ranges, on images of 0..255."""
from typing import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmfss.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomDefocus(BaseTransform):
    """Blur by a disc, as a lens out of focus.

    Args:
        radius (Sequence[int]): Smallest and largest radius in pixels.
    """

    def __init__(self, radius: Sequence[int] = (1, 5)) -> None:
        self.radius = tuple(radius)

    @cache_randomness
    def _draw(self) -> int:
        return int(np.random.randint(self.radius[0], self.radius[1] + 1))

    def transform(self, results: dict) -> dict:
        """Blur."""
        radius = self._draw()
        rows, cols = np.mgrid[-radius:radius + 1, -radius:radius + 1]
        disc = (rows**2 + cols**2 <= radius**2).astype(np.float32)
        results['img'] = cv2.filter2D(results['img'], -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(radius={self.radius})'


@TRANSFORMS.register_module()
class RandomBrightnessContrast(BaseTransform):
    """Compute alpha x + 255 beta.

    Args:
        brightness (Sequence[float]): Range of beta.
        contrast (Sequence[float]): Range of alpha - 1.
    """

    def __init__(self, brightness: Sequence[float] = (-0.2, 0.2), contrast: Sequence[float] = (-0.2, 0.2)) -> None:
        self.brightness, self.contrast = tuple(brightness), tuple(contrast)

    @cache_randomness
    def _draw(self) -> tuple[float, float]:
        return 1 + np.random.uniform(*self.contrast), 255 * np.random.uniform(*self.brightness)

    def transform(self, results: dict) -> dict:
        """Change brightness and contrast."""
        alpha, shift = self._draw()
        results['img'] = _rounded(results['img'] * np.float32(alpha) + np.float32(shift))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast})'


@TRANSFORMS.register_module()
class RandomGaussianNoise(BaseTransform):
    """Add normal noise, independent for every pixel and colour.

    Args:
        variance (Sequence[float]): Range of its variance, for pixels of 0..255.
    """

    def __init__(self, variance: Sequence[float] = (10., 50.)) -> None:
        self.variance = tuple(variance)

    def transform(self, results: dict) -> dict:
        """Add noise."""
        image = results['img']
        noise = np.random.normal(0, np.random.uniform(*self.variance)**0.5, image.shape)
        results['img'] = _rounded(image + noise)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(variance={self.variance})'


def _rounded(image: np.ndarray) -> np.ndarray:
    return image.round().clip(0, 255).astype(np.uint8)

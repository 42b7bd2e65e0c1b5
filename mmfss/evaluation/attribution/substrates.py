"""Substrates: replacements of removed support pixels."""
from dataclasses import dataclass
from typing import Any, Mapping, Union

import torch
from torch import Tensor

from mmfss.structures import Episode

KINDS = ('zero', 'random', 'blur', 'gaussian')


@dataclass(frozen=True)
class Substrate:
    """Replace support images and masks.

    Attributes:
        kind (str): ``'zero'``: image 0, the mean colour of normalized images, and mask 0 (the paper's);
            ``'random'``: uniform numbers in [0, 1) for both, drawn once per episode and seed;
            ``'blur'``, or ``'gaussian'`` by its other name: image and mask after a two-dimensional Gaussian blur.
        seed (int): Of ``'random'``. Defaults to 0.
        kernel_size (int): Of ``'blur'``: odd; the images must be larger than half of it. Defaults to 11.
        sigma (float): Of ``'blur'``: standard deviation in pixels. Defaults to 5.

    Raises:
        ValueError: If a value is not possible.
    """
    kind: str = 'zero'
    seed: int = 0
    kernel_size: int = 11
    sigma: float = 5.

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f'substrate must be one of {", ".join(KINDS)}, got {self.kind!r}.')
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f'kernel_size of the substrate must be odd and positive, got {self.kernel_size}.')
        if self.sigma <= 0:
            raise ValueError(f'sigma of the substrate must be positive, got {self.sigma}.')

    @classmethod
    def of(cls, config: Union[str, Mapping[str, Any], 'Substrate']) -> 'Substrate':
        """Create a substrate from its kind, or from a dict of attributes."""
        if isinstance(config, Substrate):
            return config
        return cls(config) if isinstance(config, str) else cls(**config)

    def __call__(self, episode: Episode) -> tuple[Tensor, Tensor]:
        """Return the substrate's images (N, K, 3, H, W) and masks (N, K, H, W) for an episode."""
        images, masks = episode.support, episode.masks
        if self.kind == 'zero':
            return torch.zeros_like(images), torch.zeros_like(masks)
        if self.kind == 'random':
            generator = torch.Generator().manual_seed(self.seed)
            images_masks = (torch.rand(x.shape, generator=generator).to(x) for x in (images, masks))
            return tuple(images_masks)
        from torchvision.transforms.functional import gaussian_blur  # seconds, which few runs need

        kernel, sigma = [self.kernel_size] * 2, [self.sigma] * 2
        return tuple(gaussian_blur(x.flatten(0, 1), kernel, sigma).view_as(x) for x in (images, masks))

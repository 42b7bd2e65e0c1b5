"""Support masks as weights of attributions: dilated, then blurred."""
from math import exp

import torch
import torch.nn.functional as F
from torch import Tensor


def dilate(masks: Tensor, radius: int, kernel_size: int) -> Tensor:
    """Grow masks: ``radius`` times, a pixel becomes 1 if any pixel of the square around it is 1.

    Args:
        masks (Tensor): 0 or 1, shape (B, K, H, W).
        radius (int): How often.
        kernel_size (int): Side of the square, odd.
    """
    for _ in range(radius):
        masks = F.max_pool2d(masks, kernel_size, stride=1, padding=kernel_size // 2)
    return masks


def blur(maps: Tensor, kernel_size: int, sigma: float) -> Tensor:
    """Blur maps by a Gaussian of limited extent, reflecting at the borders.

    Args:
        maps (Tensor): Shape (B, K, H, W).
        kernel_size (int): Side of the kernel in pixels, odd; 1 does nothing.
        sigma (float): Standard deviation in pixels. The published 50 makes of 31 pixels almost a box.

    Raises:
        ValueError: If the kernel does not fit: reflection needs sides longer than half of it.
    """
    radius = kernel_size // 2
    if radius == 0:
        return maps
    if min(maps.shape[-2:]) <= radius:
        raise ValueError(f'Maps of {maps.shape[-2]} x {maps.shape[-1]} pixels are too small for mask_blur_kernel_size='
                         f'{kernel_size}: at most {2 * min(maps.shape[-2:]) - 1} is possible.')
    values = [exp(-0.5 * (t / sigma)**2) for t in range(-radius, radius + 1)]
    kernel = torch.tensor(values, dtype=torch.float64, device=maps.device)
    kernel = (kernel / kernel.sum()).to(maps.dtype)
    x = F.pad(maps.flatten(0, 1).unsqueeze(1), [radius] * 4, mode='reflect')
    x = F.conv2d(F.conv2d(x, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return x.squeeze(1).unflatten(0, maps.shape[:2])

"""Resizing as the published methods do."""
from typing import Sequence

import torch.nn.functional as F
from torch import Tensor


def resize_aligned(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resizing with aligned corners, (B, C, h, w) -> (B, C, *size)."""
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=True)

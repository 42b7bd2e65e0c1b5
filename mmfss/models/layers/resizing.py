"""Resizing as the published methods do, and bilinear resizing read backwards."""
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_aligned(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resizing with aligned corners, (B, C, h, w) -> (B, C, *size)."""
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=True)


def resize_unaligned(maps: Tensor, size: Sequence[int], antialias: bool = False) -> Tensor:
    """Resize maps (B, C, h, w) to (B, C, *size), bilinearly with corners not aligned."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode='bilinear', align_corners=False, antialias=antialias)


def resize_adjoint(images: Tensor, size: Sequence[int], antialias: bool = False, align_corners: bool = False) -> Tensor:
    """What pixel weights mean to the map that is resized to the pixels.

    With U the operator of :func:`resize_unaligned` (or :func:`resize_aligned`) from ``size`` to the size of the images
    it is U^T x: for every map a, <U a, x> = <a, U^T x>. It is the derivative of the resize itself, hence exact at any
    ratio, with antialiasing too.

    Args:
        images (Tensor): Weights of the pixels, shape (B, C, H, W).
        size (Sequence[int]): Size (h, w) of the map.
        antialias (bool): Whether the resize antialiases. Defaults to False.
        align_corners (bool): Whether it aligns the corners; it does not antialias then. Defaults to False.

    Returns:
        Tensor: Shape (B, C, h, w).
    """
    with torch.enable_grad():
        maps = images.new_zeros((*images.shape[:-2], *size), requires_grad=True)
        pixels = images.shape[-2:]
        resized = resize_aligned(maps, pixels) if align_corners else resize_unaligned(maps, pixels, antialias)
        return torch.autograd.grad(resized, maps, images)[0]

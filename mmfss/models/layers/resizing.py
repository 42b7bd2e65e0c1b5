"""Bilinear resizing as in the published methods, and its adjoint."""
from functools import partial
from typing import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.utils.determinism import avoids_atomics


def resize_aligned(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, h, w) to (B, C, *size), bilinearly with aligned corners."""
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=True)


def resize_unaligned(maps: Tensor, size: Sequence[int], antialias: bool = False) -> Tensor:
    """Resize maps (B, C, h, w) to (B, C, *size), bilinearly with corners not aligned."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    resize = partial(F.interpolate, mode='bilinear', align_corners=False, antialias=antialias)
    if antialias and avoids_atomics(maps):  # Without antialiasing, PyTorch has a deterministic derivative of its own.
        return resize_by_matrices(maps, size, resize)
    return resize(maps, tuple(size))


def pool_to_size(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Average maps (B, C, h, w) over the cells of a grid, (B, C, *size)."""
    if avoids_atomics(maps):
        return resize_by_matrices(maps, size, F.adaptive_avg_pool2d)
    return F.adaptive_avg_pool2d(maps, tuple(size))


def resize_by_matrices(maps: Tensor, size: Sequence[int], resize: Callable[[Tensor, Sequence[int]], Tensor]) -> Tensor:
    """Resize by a product with a matrix for the rows and one for the columns.

    Its derivative is a product too, which adds up in a fixed order on every device. The usual kernels on a GPU add with
    atomic operations.

    Args:
        maps (Tensor): Shape (B, C, h, w).
        size (Sequence[int]): Size (H, W) of the result.
        resize (Callable): The operator, of maps and size, linear and separable into rows and columns. It is applied to
            unit vectors on the CPU.

    Returns:
        Tensor: Shape (B, C, H, W), of the maps' type.
    """
    dtype = torch.promote_types(maps.dtype, torch.float32)
    with torch.no_grad():
        # Every column of a picture is a unit vector. It keeps its width.
        rows, columns = (resize(torch.eye(before, dtype=dtype)[None, None], (after, before))[0, 0].to(maps.device)
                         for before, after in zip(maps.shape[-2:], size))
    with torch.autocast(maps.device.type, enabled=False):
        return (rows @ maps.to(dtype) @ columns.T).to(maps.dtype)


def resize_adjoint(images: Tensor, size: Sequence[int], antialias: bool = False, align_corners: bool = False) -> Tensor:
    """Pull pixel weights back to the map that is resized to the pixels (adjoint of the resize).

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
    # In inference mode too, which records no derivatives, and whose tensors have none.
    with torch.inference_mode(False), torch.enable_grad():
        images = images.clone() if images.is_inference() else images
        maps = images.new_zeros((*images.shape[:-2], *size), requires_grad=True)
        pixels = images.shape[-2:]
        resized = resize_aligned(maps, pixels) if align_corners else resize_unaligned(maps, pixels, antialias)
        return torch.autograd.grad(resized, maps, images)[0]

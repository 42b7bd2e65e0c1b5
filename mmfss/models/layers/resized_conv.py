"""Convolution of an enlarged map, mostly computed before it is enlarged."""
from math import prod
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .exporting import exporting
from .resizing import resize_aligned


def conv_resized(x: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
    """Convolve an enlarged map: ``F.conv2d(resize_aligned(x, size), weight, padding=1)``, up to rounding.

    Resizing acts on positions, and mixing channels does not. Therefore each of the nine entries of the kernel mixes the
    channels of the small map. Then two products with small matrices enlarge, shift and add. Mixing C channels into O
    takes time O(O C h w) instead of O(O C H W). With gradients the enlarged map is convolved, so that training stays
    equal to the published code within rounding; in exported graphs too, which stay simple.

    Args:
        x (Tensor): Shape (B, C, h, w).
        weight (Tensor): Kernel of 3 x 3, shape (O, C, 3, 3).
        size (Sequence[int]): Size (H, W) of the result. If it has less than twice the positions, the enlarged map is
            convolved.

    Returns:
        Tensor: Shape (B, O, H, W).

    Example:
        >>> import torch
        >>> from mmfss.models.layers import conv_resized
        >>> conv_resized(torch.rand(1, 64, 12, 12), torch.rand(8, 64, 3, 3), (24, 24)).shape
        torch.Size([1, 8, 24, 24])
    """
    height, width = x.shape[-2:]
    if exporting() or torch.is_grad_enabled() or 2 * height * width > prod(size):
        return F.conv2d(resize_aligned(x, size), weight, padding=1)
    batch, channels = len(x), len(weight)
    rows, columns = (shifted_enlargements(*sides, x) for sides in zip((height, width), size))
    # Mix the channels for each entry of the kernel: kernel columns, output channels, kernel rows.
    entries = weight.permute(3, 0, 2, 1).flatten(0, 2)
    mixed = torch.bmm(entries.expand(batch, -1, -1), x.flatten(2))
    # Enlarge, shift and add along the rows, then along the columns.
    mixed = mixed.view(batch * 3 * channels, 3 * height, width)
    mixed = torch.bmm(torch.cat(tuple(rows), dim=1).expand(len(mixed), -1, -1), mixed)
    left, middle, right = mixed.view(batch, 3, channels * size[0], width).unbind(1)
    out = torch.bmm(left, columns[0].t().expand(batch, -1, -1))
    for part, matrix in zip((middle, right), columns[1:]):
        out = torch.baddbmm(out, part, matrix.t().expand(batch, -1, -1))
    return out.view(batch, channels, *size)


@torch.no_grad()
def shifted_enlargements(before: int, after: int, like: Tensor) -> Tensor:
    """Return the matrices that enlarge an axis (corners aligned) and shift it by -1, 0 and 1 positions.

    Zeros are shifted in, as by the padding of a convolution.

    Args:
        before (int): Positions of the axis.
        after (int): Positions of the enlarged axis.
        like (Tensor): Gives type and device.

    Returns:
        Tensor: Shape (3, after, before).
    """
    # Each column of this picture is a unit vector; columns keep their places.
    unit = torch.eye(before, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
    matrix = F.pad(resize_aligned(unit[None, None], (after, before))[0, 0], (0, 0, 1, 1))
    return torch.stack([matrix[shift:shift + after] for shift in range(3)]).to(like.dtype)

"""Support masks on the grid of a feature map."""
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .resizing import resize_unaligned


def mask_cells(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Select the cells of a grid that a mask covers, at least one unless the mask is empty.

    A cell counts if the mask (> 0), resized bilinearly, exceeds 0.5 there. If none does, nearest neighbours are taken;
    if still none is left, the cell of the mask's centre of gravity (INSID3).

    Args:
        masks (Tensor): Shape (B, K, H, W).
        size (Sequence[int]): Size (h, w) of the grid.

    Returns:
        Tensor: 1 and 0, float32, shape (B, K, h, w).

    Example:
        >>> import torch
        >>> from mmfss.models.layers.mask_cells import mask_cells
        >>> masks = torch.zeros(1, 2, 16, 16)
        >>> masks[0, 0, :9, :8] = 1  # a large mask, and one of a single pixel
        >>> masks[0, 1, 6, 13] = 1
        >>> mask_cells(masks, (4, 4)).int()[0].flatten(1).nonzero()[:, 1]
        tensor([0, 1, 4, 5, 7])
    """
    covered = (masks > 0).float()
    cells = (resize_unaligned(covered, size) > 0.5).float()
    for rule in (_nearest_cells, _centre_cells):
        missed = ~cells.flatten(2).any(-1) & covered.flatten(2).any(-1)
        if missed.any():
            cells[missed] = rule(covered[missed], size)
    return cells


def _nearest_cells(covered: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (M, H, W) by nearest neighbours."""
    return F.interpolate(covered[:, None], tuple(size), mode='nearest')[:, 0]


def _centre_cells(covered: Tensor, size: Sequence[int]) -> Tensor:
    """Select the one cell (M, h, w) that holds the centre of gravity of each mask (M, H, W)."""
    cells = covered.new_zeros(len(covered), *size)
    for mask, chosen in zip(covered, cells):
        centre = mask.nonzero().double().mean(0)
        row, column = (min(int(x / (pixels // side)), side - 1) for x, pixels, side in zip(centre, mask.shape, size))
        chosen[row, column] = 1
    return cells


def soft_cells(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Resize masks (B, K, H, W) bilinearly to a grid, (B, K, h, w): their differentiable form."""
    return resize_unaligned(masks.to(torch.promote_types(masks.dtype, torch.float32)), size)

"""Projection of the levels of a feature pyramid to scales on one grid, each in a unit cube."""
from typing import Sequence

import torch
from torch import Tensor, nn

from .resizing import pool_to_size, resize_unaligned

NORM_WIDTH = 4
"""Channels of a group of the norm."""


class PyramidScales(nn.Module):
    """Project every level of a feature pyramid, and bring the projections to the finest grid.

    Letters: B images, S levels, D channels of a scale. A scale is a 1 x 1 convolution of all maps of its level, group
    norm, enlarging, and a sigmoid: in (0, 1), so that squared distances lie between 0 and D, as those of ScaleProtoSeg.

    The projection is linear and sees one place of one level on purpose. Deeper embeddings learn to make the training
    classes compact, and tell less of new ones; and the scale that carried a prediction is a level of the backbone.

    Args:
        in_channels (Sequence[Sequence[int]]): Channels of every map, per level from fine to coarse.
        channels (int): D, a multiple of 4.

    Raises:
        ValueError: If ``channels`` is not a positive multiple of 4.
    """

    def __init__(self, in_channels: Sequence[Sequence[int]], channels: int) -> None:
        super().__init__()
        if channels < 1 or channels % NORM_WIDTH:
            raise ValueError(f'scale_channels must be a positive multiple of {NORM_WIDTH}, got {channels}.')
        # The sum of the convolutions of a level's maps is the convolution of their concatenation, which is never made.
        self.projections = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(width, channels, 1, bias=False) for width in level) for level in in_channels)
        self.norms = nn.ModuleList(nn.GroupNorm(channels // NORM_WIDTH, channels) for _ in in_channels)

    def forward(self, levels: Sequence[Sequence[Tensor]]) -> Tensor:
        """Embed the levels of a feature pyramid.

        Args:
            levels (Sequence[Sequence[Tensor]]): Maps (B, C, h, w) of every level, from fine to coarse.

        Returns:
            Tensor: Shape (B, S, D, h, w) at the size of the finest level, in (0, 1), at least float32.
        """
        scales = []
        for maps, projections, norm in zip(levels, self.projections, self.norms):
            projected = norm(sum(projection(x) for projection, x in zip(projections, maps)))
            projected = projected.to(torch.promote_types(projected.dtype, torch.float32))
            scales.append(resize_unaligned(projected, levels[0][0].shape[-2:]).sigmoid())
        return torch.stack(scales, dim=1)


def cell_shares(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Compute the share of every cell's area that a mask covers; even a small mask does not vanish.

    Args:
        masks (Tensor): Values in [0, 1], shape (B, K, H, W).
        size (Sequence[int]): Grid (h, w).

    Returns:
        Tensor: Shape (B, K * h * w), at least float32.
    """
    masks = masks.to(torch.promote_types(masks.dtype, torch.float32))
    return pool_to_size(masks, size).flatten(1)

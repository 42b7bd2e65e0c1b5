"""The self-matching transformation of DMTNet (sections 3.2 and 3.3), in the small space it maps to.

The transformation sends the two prototypes of an image to two learned reference rows, so every transformed feature is a
combination of the reference rows: of two for a support, of four for a query. Only the coefficients, here called
*coordinates*, are computed. With the reference rows M (4 x C) and M M^T = U^T U, norms and inner products of
transformed features are those of U times their coordinates: vectors of length 4 instead of C.
"""
from typing import Sequence

import torch
from torch import Tensor, nn

STABLE_RCOND = 1e-5
REFERENCE_RCOND = 1e-15
"""Cut-off of the released implementation; it is below float32's precision, see :func:`dual_rows`."""
_PRECISION = 1e-7


def dual_rows(rows: Tensor, rcond: float = STABLE_RCOND) -> Tensor:
    """Compute the transposed Moore-Penrose inverse of two rows.

    Singular values of less than ``rcond`` times the largest count as zero, so a missing prototype (a row of zeros) is
    harmless. The inverse is exact and in closed form, in float64, for each matrix on its own. With an ``rcond`` below
    the precision of float32 it is torch's float32 inverse, as released: if one of two rows is zero it may invert
    rounding noise, with a result that depends on the batch and the number of threads.

    Args:
        rows (Tensor): Shape (..., 2, C).
        rcond (float): Relative cut-off.

    Returns:
        Tensor: Shape (..., 2, C).
    """
    if rcond < _PRECISION:
        return torch.linalg.pinv(rows, rtol=rcond).transpose(-1, -2)
    x = rows.double()
    gram = x @ x.transpose(-1, -2)
    a, b, d = gram[..., 0, 0], gram[..., 0, 1], gram[..., 1, 1]
    trace, det = a + d, a * d - b * b
    with torch.no_grad():
        largest = (trace + (trace**2 - 4 * det).clamp(min=0).sqrt()) / 2
        regular = det > (rcond * largest)**2
    adjugate = torch.stack((torch.stack((d, -b), -1), torch.stack((-b, a), -1)), -2)
    inverse = adjugate / torch.where(regular, det, 1)[..., None, None]
    # Of rank one, a symmetric matrix is its trace times a projection.
    projection = gram / torch.where(trace > 0, trace**2, 1)[..., None, None]
    return (torch.where(regular[..., None, None], inverse, projection) @ x).to(rows.dtype)


def unit_rows(x: Tensor) -> Tensor:
    """Divide vectors along the last axis by their norm plus 1e-6."""
    return x / (x.norm(dim=-1, keepdim=True) + 1e-6)


def prototypes(features: Tensor, weights: Tensor) -> Tensor:
    """Average features by weights; zero where there is no weight.

    Args:
        features (Tensor): Shape (B, C, S).
        weights (Tensor): For each of n prototypes the weight of every position, shape (B, ..., S).

    Returns:
        Tensor: Shape (B, ..., C).
    """
    sums = weights.flatten(1, -2) @ features.transpose(1, 2)
    return sums.unflatten(1, weights.shape[1:-1]) / (weights.sum(-1, keepdim=True) + 1e-6)


def cell_starts(side: int) -> list[int]:
    """List the starts of cells of a quarter of a side: side by side, and one more at the end if a rest remains."""
    length = side // 4
    starts = list(range(0, side - length + 1, length))
    return starts if starts[-1] + length == side else [*starts, side - length]


def cells(size: Sequence[int], like: Tensor) -> Tensor:
    """Compute the indicators of all cells of a grid, row by row, shape (G, h, w).

    Args:
        size (Sequence[int]): (h, w), both at least 4.
        like (Tensor): Gives the type and the device.

    Raises:
        ValueError: If the grid is smaller.
    """
    if min(size) < 4:
        raise ValueError(f'DMTNet divides every feature map into cells of a quarter of its sides: a map of {size[0]} x '
                         f'{size[1]} is too small, use larger images.')
    rows, cols = (torch.zeros(len(cell_starts(side)), side, dtype=like.dtype, device=like.device) for side in size)
    for indicator, side in ((rows, size[0]), (cols, size[1])):
        for cell, start in enumerate(cell_starts(side)):
            indicator[cell, start:start + side // 4] = 1
    return (rows[:, None, :, None] * cols[None, :, None, :]).flatten(0, 1)


class ReferenceRows(nn.Module):
    """Hold the learned rows that the prototypes of supports and queries are mapped to.

    Args:
        channels (Sequence[int]): Width of each group of layers that share their rows.
        dropout (float): Dropout probability of the rows in training, for each sample on its own.
    """

    def __init__(self, channels: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.support = nn.ParameterList(torch.empty(2, width) for width in channels)
        self.query = nn.ParameterList(torch.empty(2, width) for width in channels)
        for rows in self.parameters():
            nn.init.kaiming_normal_(rows, nonlinearity='linear')

    def forward(self, group: int, lead: Sequence[int]) -> Tensor:
        """Return the unit rows of a group, the support's two and the query's two.

        Args:
            group (int): The group.
            lead (Sequence[int]): Leading axes of the samples.

        Returns:
            Tensor: Shape (4, C), or in training (*lead, 4, C).
        """
        rows = torch.cat((self.support[group], self.query[group]))
        return unit_rows(self.dropout(rows.expand(*lead, -1, -1)) if self.training else rows)


def metric(rows: Tensor) -> Tensor:
    """Compute U (..., 4, 4) with U^T U = M M^T, for rows M (..., 4, C)."""
    x = rows.double()
    gram = x @ x.transpose(-1, -2)
    # Keeps rows that are equal or zero finite.
    gram = gram + 1e-12 * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    # (Without the check whether it worked, for which a GPU would have to be waited for.)
    return torch.linalg.cholesky_ex(gram).L.transpose(-1, -2).to(rows.dtype)

"""Prototypes of support cells, and groups of them across scales."""
from dataclasses import dataclass
from typing import Sequence, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from .clustering import weighted_means
from .pytrees import pytree
from .simplex import project_to_simplex

FOREGROUND, BACKGROUND = 0, 1


@pytree
@dataclass
class SupportPrototypes:
    """Hold the prototypes and groups of B support sets of K shots.

    Letters: S scales, P prototypes of a scale (of both sides, foreground first), D channels, N = K * h * w support
    cells, shot by shot and in raster order within each, G groups (of both sides, foreground first).

    Attributes:
        vectors (Tensor): Shape (B, S, P, D).
        exists (Tensor): Which prototypes there are, bool, shape (B, S, P).
        assignments (Tensor): The weight of every cell in every prototype, R: not negative, sum 1 over the cells, or 0
            for a prototype that does not exist; shape (B, S, P, N).
        sources (Tensor): The cell that stands for each prototype, 0 to N - 1, int64, shape (B, S, P).
        groups (Tensor): The weight of every prototype in every group: not negative, sum 1 over (S, P), or 0 for a group
            that does not exist; shape (B, G, S, P).
        group_exists (Tensor): Bool, shape (B, G).
        side (Tensor): The side of each prototype, 0 foreground, 1 background, shape (P,).
        group_side (Tensor): The side of each group, shape (G,).
        size (tuple[int, int, int]): (K, h, w).
    """
    vectors: Tensor
    exists: Tensor
    assignments: Tensor
    sources: Tensor
    groups: Tensor
    group_exists: Tensor
    side: Tensor
    group_side: Tensor
    size: tuple[int, int, int]

    @classmethod
    def join(cls, sides: Sequence['SupportPrototypes']) -> 'SupportPrototypes':
        """Join foreground and background; a group keeps to its side."""
        counts = [len(part.side) for part in sides]
        groups = [F.pad(part.groups, (sum(counts[:i]), sum(counts[i + 1:]))) for i, part in enumerate(sides)]

        def joined(name: str, dim: int) -> Tensor:
            return torch.cat([getattr(part, name) for part in sides], dim=dim)

        return cls(
            joined('vectors', 2), joined('exists', 2), joined('assignments', 2), joined('sources', 2),
            torch.cat(groups, dim=1), joined('group_exists', 1), joined('side', 0), joined('group_side', 0),
            sides[0].size)

    def of_side(self, side: int) -> Tensor:
        """Select the prototypes that exist and belong to a side, bool, shape (B, S, P)."""
        return self.exists & (self.side == side)

    def groups_of_side(self, side: int) -> Tensor:
        """Select the groups that exist and belong to a side, bool, shape (B, G)."""
        return self.group_exists & (self.group_side == side)


def pooled(cells: Tensor, weights: Tensor, memberships: Tensor) -> tuple[Tensor, Tensor]:
    """Pool cells into several prototypes: means of the cells, weighted by membership.

    Args:
        cells (Tensor): Shape (..., N, D).
        weights (Tensor): How much a cell is of this side at all, not negative, shape (..., N).
        memberships (Tensor): In [0, 1], shape (..., M, N).

    Returns:
        tuple[Tensor, Tensor]: Vectors (..., M, D), and the weights R of the cells in them, (..., M, N).
    """
    shares = memberships * weights.unsqueeze(-2)
    shares = shares / shares.sum(-1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
    return weighted_means(cells, shares), shares


def nearest_cells(distances: Tensor, weights: Tensor) -> Tensor:
    """Find the support cell that represents each prototype: the nearest one of its side.

    Args:
        distances (Tensor): Of cells to prototypes, shape (..., M, N).
        weights (Tensor): How much a cell is of this side, shape (..., N). Cells of less than half the largest weight do
            not count: they show more of the other side.

    Returns:
        Tensor: Index of the cell, int64, shape (..., M).
    """
    core = weights * 2 >= weights.amax(-1, keepdim=True)
    return distances.masked_fill(~core.unsqueeze(-2), torch.inf).argmin(-1)


def overlap_groups(assignments: Tensor, exists: Tensor, parts: Tensor, parts_exist: Tensor, focus: Union[float, Tensor],
                   preference: Tensor) -> Tensor:
    r"""Link prototypes of different scales that were made of the same support cells.

    A group stands for a part of the support. What counts is the share of a prototype that comes from the part,

    .. math:: O_{k,sm} = \sum_i R_{sm,i} u_{k,i}, \qquad
        G_k = \mathrm{proj}_\Delta (\lambda O_k + b),

    with the Euclidean projection to the simplex: a group is a convex combination that leaves out prototypes made of
    other parts.

    Args:
        assignments (Tensor): R, shape (B, S, M, N).
        exists (Tensor): Bool, shape (B, S, M).
        parts (Tensor): How much each cell belongs to each part, u, in [0, 1], shape (B, G, N).
        parts_exist (Tensor): Bool, shape (B, G).
        focus (float | Tensor): lambda, a scalar: the larger, the sparser.
        preference (Tensor): b, for scales that deserve more weight, shape (S,).

    Returns:
        Tensor: Shape (B, G, S, M): sum 1 over (S, M), 0 for parts that do not exist.
    """
    overlap = torch.einsum('bsmn,bgn->bgsm', assignments, parts)
    scores = (focus * overlap + preference[:, None]).flatten(2)
    groups = project_to_simplex(scores, exists.flatten(1)[:, None]) * parts_exist[..., None]
    return groups.view(overlap.shape)


def log_mean_exp(logits: Tensor, exists: Tensor) -> Tensor:
    """Compute the log of the mean of exp over existing entries; 0 where none exists.

    Args:
        logits (Tensor): Shape (B, n, h, w).
        exists (Tensor): Bool, shape (B, n) or (1, n).

    Returns:
        Tensor: Shape (B, h, w).
    """
    exists = exists[..., None, None]
    count = exists.sum(1)
    total = logits.masked_fill(~exists, torch.finfo(logits.dtype).min).logsumexp(1)
    return torch.where(count > 0, total - count.clamp(min=1).log(), torch.zeros_like(total))

"""The graph of points and their masks: components, growth and consistency (GF-SAM, NeurIPS 2024)."""
from dataclasses import dataclass
from typing import Callable, Iterable, Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from .resizing import resize_unaligned

EPS = 1e-6


@dataclass(frozen=True)
class GridMasks:
    """Hold the masks of P points, and these on a grid of cells.

    Attributes:
        masks (Tensor): Boolean, shape (P, H, W).
        cells (Tensor): Nearest pixel of each cell, boolean, shape (P, h, w).
        shares (Tensor): Resized bilinearly, shape (P, h, w).
    """
    masks: Tensor
    cells: Tensor
    shares: Tensor

    @classmethod
    def of(cls, batches: Iterable[Tensor], size: tuple[int, int]) -> 'GridMasks':
        """Collect batches of masks (n, H, W)."""
        masks = torch.cat(list(batches))
        return cls(masks, nearest_pixels(masks, size), shrink(masks, size))


@dataclass(frozen=True)
class MaskGraph:
    """Hold what the graph says of each of P points, with U components.

    Attributes:
        edges (Tensor): Whether the mask of point i covers point j, boolean, shape (P, P).
        component (Tensor): Component of each point, numbered by first occurrence, int64, shape (P, ).
        scores (Tensor): Mean evidence in each mask, the order of growth, shape (P, ).
        foreground (Tensor): Masks that grow the object, boolean, shape (P, ).
        balance (Tensor): Positive minus other area of the last mask of the component, shape (P, ).
        consistency (Tensor): Similarity of each point to each component, by distance, shape (U, P).
        consistent (Tensor): Points that belong to their component, boolean, shape (P, ).
        fallback (bool): Whether no mask is both foreground and consistent.
        chosen (Tensor): Numbers of the masks whose union is the answer, int64.
    """
    edges: Tensor
    component: Tensor
    scores: Tensor
    foreground: Tensor
    balance: Tensor
    consistency: Tensor
    consistent: Tensor
    fallback: bool
    chosen: Tensor

    @classmethod
    def of(cls, masks: GridMasks, points: Tensor, evidence: Tensor,
           similarity: Callable[[Tensor], Tensor]) -> 'MaskGraph':
        """Build the graph and choose masks.

        Args:
            masks (GridMasks): Of P points.
            points (Tensor): Their cells (column, row), int64, shape (P, 2).
            evidence (Tensor): Above 0 where a cell speaks for the object, shape (h, w).
            similarity (Callable): Turns soft masks (U, h, w) into the mean similarity of every cell to them, the same.
        """
        columns, rows = points.unbind(1)
        edges = masks.cells[:, rows, columns]
        component = weak_components(edges)
        scores = (masks.shares * evidence).sum((1, 2)) / (masks.shares.sum((1, 2)) + EPS)
        foreground, balance = grow(masks.shares, component, scores, evidence > 0)
        unions = torch.cat([
            shrink(masks.masks[component == number].any(0)[None], evidence.shape)
            for number in range(int(component.max()) + 1)
        ])
        consistency = similarity(unions)[:, rows, columns] / nearest_distances(points, component)
        consistent = by_majority(consistency.argmax(0) == component, component)
        both = foreground & consistent
        one = torch.where(foreground ^ consistent, balance, 0)
        chosen = both.nonzero()[:, 0] if both.any() else one.argmax().view(1)
        return cls(edges, component, scores, foreground, balance, consistency, consistent, not both.any(), chosen)


def nearest_pixels(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Take the pixel of masks (P, H, W) that is nearest to each cell of a grid, (P, h, w)."""
    rows, columns = (torch.arange(cells) * pixels // cells for cells, pixels in zip(size, masks.shape[1:]))
    return masks[:, rows[:, None], columns]


def shrink(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Resize boolean masks (P, H, W) bilinearly to a smaller grid, (P, h, w), from the few pixels that count."""
    (rows, above), (columns, left) = (
        _bilinear(pixels, cells, masks.device) for pixels, cells in zip(masks.shape[1:], size))
    return above @ masks[:, rows[:, None], columns].float() @ left.T


def _bilinear(pixels: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """List the pixels of a line that count, (n, ), and their weights in each cell, (cells, n)."""
    matrix = resize_unaligned(torch.eye(pixels)[None, None], (cells, pixels))[0, 0]
    used = matrix.any(0).nonzero()[:, 0]
    return used.to(device), matrix[:, used].to(device)


def weak_components(edges: Tensor) -> Tensor:
    """Number the weakly connected components (P, ) of edges (P, P) by first occurrence."""
    _, labels = connected_components(csr_matrix(edges.cpu().numpy()), directed=True, connection='weak')
    _, first, labels = np.unique(labels, return_index=True, return_inverse=True)
    number = np.empty_like(first)
    number[first.argsort()] = np.arange(len(first))
    return torch.from_numpy(number[labels]).long().to(edges.device)


def grow(shares: Tensor, component: Tensor, scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Grow the object in each component, the mask of highest score first.

    A mask is foreground if more of what it adds is positive than not.

    Args:
        shares (Tensor): Masks on the grid, in [0, 1], shape (P, h, w).
        component (Tensor): Shape (P, ).
        scores (Tensor): Shape (P, ).
        positive (Tensor): Boolean, shape (h, w).

    Returns:
        tuple[Tensor, Tensor]: Which masks are foreground, boolean (P, ); and positive minus other area that the last
        mask of the component adds, (P, ).
    """
    foreground, balance = torch.zeros_like(component, dtype=torch.bool), torch.zeros_like(scores)
    for number in range(int(component.max()) + 1):
        inner, members = torch.zeros_like(shares[0]), (component == number).nonzero()[:, 0]
        for index in members[scores[members].argsort(descending=True, stable=True)]:
            added = shares[index] * (1 - inner)
            inside, outside = (added * positive).sum(), (added * ~positive).sum()
            if inside > outside:
                foreground[index] = True
                inner = inner + added
        balance[members] = inside - outside
    return foreground, balance


def nearest_distances(points: Tensor, component: Tensor) -> Tensor:
    """Compute the distance in cells of each point to the nearest point of each component, 1 for 0, (U, P)."""
    distances = torch.cdist(points.float(), points.float())
    nearest = torch.stack([distances[component == number].amin(0) for number in range(int(component.max()) + 1)])
    return nearest.masked_fill(nearest == 0, 1)


def by_majority(consistent: Tensor, component: Tensor) -> Tensor:
    """Drop all points of a component of which fewer than half are consistent; boolean, (P, )."""
    sizes = torch.bincount(component)
    kept = 2 * torch.bincount(component[consistent], minlength=len(sizes)) >= sizes
    return consistent & kept[component]

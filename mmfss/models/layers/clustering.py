"""Deterministic weighted k-means: the same cells give the same clusters, in any batch."""
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import full_precision

DISTINCT = 1e-6
"""Squared distance, times weight, above which a cell is taken for another than those chosen before."""


def pairwise_distances(cells: Tensor, centres: Tensor) -> Tensor:
    """Compute squared Euclidean distances of cells and centres in at least float32, under autocast too.

    Args:
        cells (Tensor): Shape (..., N, D).
        centres (Tensor): Shape (..., M, D), of equal or broadcastable leading dimensions.

    Returns:
        Tensor: Shape (..., M, N), 0 or more. Rounding may leave 2e-5 where it is zero (64 channels in the unit cube).
    """
    with full_precision(cells.device):
        cells, centres = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (cells, centres))
        products = centres @ cells.transpose(-1, -2)
        norms = _squared_norms(centres)[..., :, None] + _squared_norms(cells)[..., None, :]
        return (norms - 2 * products).relu()


def _squared_norms(vectors: Tensor) -> Tensor:
    return (vectors * vectors).sum(-1)


@torch.no_grad()
def kmeans(cells: Tensor, weights: Tensor, num_clusters: int, num_iterations: int) -> tuple[Tensor, Tensor]:
    """Cluster cells by their weights.

    Seeds are taken one by one as k-means++ would most likely take them: first a heavy cell near the weighted mean, w /
    (d + 1) largest; then each time the cell of the largest w d, d its squared distance to the nearest seed so far. Then
    steps of Lloyd. With a single cluster, the weighted mean.

    Time O(T N M D), memory O(N (D + M)); batches are independent of each other.

    Args:
        cells (Tensor): Shape (B, N, D), in the unit cube.
        weights (Tensor): Not negative, shape (B, N).
        num_clusters (int): M.
        num_iterations (int): Steps, T.

    Returns:
        tuple[Tensor, Tensor]: Centres (B, M, D), and which of them exist, bool (B, M). There are fewer than M where
        fewer cells are different, and none where all weights are 0; what does not exist has finite coordinates.
    """
    cells = cells.contiguous()  # once, not in each of many products
    places, exists = spread_seeds(cells, weights, num_clusters)
    centres = take_cells(cells, places)
    for _ in range(num_iterations):
        # Half the squared distance, but for half the square of the cell, which is the same to all centres.
        half = (_squared_norms(centres) / 2).masked_fill(~exists, torch.inf)[..., None]
        distances = half - centres @ cells.transpose(1, 2)
        # (min finds the place along this axis ten times faster than argmin on a CPU.)
        members = torch.zeros_like(distances).scatter_(1, distances.min(1, keepdim=True).indices, weights[:, None])
        mass = members.sum(2, keepdim=True)
        centres = torch.where(mass > 0, weighted_means(cells, members), centres)
    return centres, exists


def weighted_means(cells: Tensor, weights: Tensor) -> Tensor:
    """Average cells (..., N, D) with weights (..., M, N): (..., M, D), 0 where all weights are 0."""
    return (weights @ cells) / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


@torch.no_grad()
def cosine_kmeans(cells: Tensor,
                  weights: Tensor,
                  seeds: Tensor,
                  exists: Tensor,
                  tolerance: float = 1e-4,
                  max_iterations: int = 300,
                  redraw_empty: bool = False) -> tuple[Tensor, Tensor]:
    """Cluster cells by the cosine to the clusters' means, until the means rest.

    A cell belongs to the centre of largest cosine (the first of equals), and a centre is the mean of its cells, which
    are not normalized. A set of cells is finished after the update in which the distances that its centres moved, added
    up and squared, fall below the tolerance. Time O(T N M D), memory O(N (D + M)).

    Args:
        cells (Tensor): Shape (B, N, D).
        weights (Tensor): Not negative, shape (B, N). Cells of weight 0 take no part.
        seeds (Tensor): Cells to begin with, int64, shape (B, M).
        exists (Tensor): Which seeds count, bool, shape (B, M). Sets without seeds need no updates.
        tolerance (float): Defaults to 1e-4.
        max_iterations (int): Updates done at most. Defaults to 300.
        redraw_empty (bool): Move a centre that lost its cells to a random cell (PyTorch's global generator) instead
            of leaving it where it is. Defaults to False.

    Returns:
        tuple[Tensor, Tensor]: Memberships in the last update, weights included, (B, M, N), and the number of updates,
        int64, (B, ).
    """
    unit, centres = F.normalize(cells, dim=-1), take_cells(cells, seeds)
    members = cells.new_zeros(*seeds.shape, cells.shape[1])
    active, updates = exists.any(1), torch.zeros_like(seeds[:, 0])
    for _ in range(max_iterations):
        if not active.any():
            break
        cosines = F.normalize(centres, dim=-1) @ unit.transpose(1, 2)
        nearest = cosines.masked_fill(~exists[..., None], -torch.inf).max(1, keepdim=True).indices
        found = torch.zeros_like(members).scatter_(1, nearest, weights[:, None].to(members.dtype))
        lost = exists & (found.sum(2) == 0)
        moved = torch.where(lost[..., None], centres, weighted_means(cells, found))
        if redraw_empty:
            for episode, cluster in (lost & active[:, None]).nonzero().tolist():
                own = weights[episode].nonzero().squeeze(1)
                moved[episode, cluster] = cells[episode, own[torch.randint(len(own), (1, ))]]
        # Sets that are finished stay as they are.
        shift = ((moved - centres).norm(dim=-1) * exists).sum(1).square()
        members = torch.where(active[:, None, None], found, members)
        centres = torch.where(active[:, None, None], moved, centres)
        updates = updates + active
        active = active & (shift >= tolerance)
    return members, updates


@torch.no_grad()
def spread_seeds(cells: Tensor, weights: Tensor, num_clusters: int) -> tuple[Tensor, Tensor]:
    """Choose the cells that k-means begins with, without chance; see :func:`kmeans`.

    Args:
        cells (Tensor): Shape (B, N, D), in the unit cube or of length 1.
        weights (Tensor): Not negative, shape (B, N).
        num_clusters (int): M.

    Returns:
        tuple[Tensor, Tensor]: Places of the cells, int64, (B, M), and which of them differ from those before, bool.
    """
    wanted, least = weights / (_exact_distances(cells, weighted_means(cells, weights[:, None])) + 1), 0.
    places, exists, nearest = [], [], None
    for _ in range(num_clusters):
        value, place = wanted.max(1, keepdim=True)
        exists.append(value > least)
        places.append(place)
        distances = _exact_distances(cells, take_cells(cells, place))
        nearest = distances if nearest is None else torch.minimum(nearest, distances)
        wanted, least = weights * nearest, DISTINCT
    return torch.cat(places, dim=1), torch.cat(exists, dim=1)


def random_seeds(weights: Tensor, num_clusters: int) -> Tensor:
    """Draw different cells of weight above 0 for each set, by NumPy's global generator.

    Args:
        weights (Tensor): Shape (B, N).
        num_clusters (int): M. A set of fewer cells draws nothing and gets cell 0 throughout.

    Returns:
        Tensor: Places of the cells, int64, (B, M).
    """
    places = torch.zeros(len(weights), num_clusters, dtype=torch.int64)
    for row, own in zip(places, weights.detach().cpu().numpy() > 0):
        if own.sum() >= num_clusters:
            row[:] = torch.from_numpy(np.flatnonzero(own)[np.random.choice(own.sum(), num_clusters, replace=False)])
    return places.to(weights.device)


def take_cells(cells: Tensor, places: Tensor) -> Tensor:
    """Select cells (B, N, D) by their places (B, M), (B, M, D)."""
    return cells.gather(1, places[..., None].expand(-1, -1, cells.shape[-1]))


def _exact_distances(cells: Tensor, centre: Tensor) -> Tensor:
    """Compute squared distances (B, N) of cells (B, N, D) to one centre (B, 1, D), exactly 0 for equal ones."""
    return torch.cdist(centre, cells, compute_mode='donot_use_mm_for_euclid_dist').squeeze(1).square()

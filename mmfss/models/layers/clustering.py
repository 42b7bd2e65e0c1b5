"""Deterministic weighted k-means: the same cells give the same clusters, in any batch."""
import torch
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
    centres, exists = _seeds(cells, weights, num_clusters)
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


def _seeds(cells: Tensor, weights: Tensor, num_clusters: int) -> tuple[Tensor, Tensor]:
    wanted, least = weights / (_exact_distances(cells, weighted_means(cells, weights[:, None])) + 1), 0.
    centres, exists, nearest = [], [], None
    for _ in range(num_clusters):
        value, place = wanted.max(1, keepdim=True)
        exists.append(value > least)
        centres.append(cells.gather(1, place[..., None].expand(-1, -1, cells.shape[-1])))
        distances = _exact_distances(cells, centres[-1])
        nearest = distances if nearest is None else torch.minimum(nearest, distances)
        wanted, least = weights * nearest, DISTINCT
    return torch.cat(centres, dim=1), torch.cat(exists, dim=1)


def _exact_distances(cells: Tensor, centre: Tensor) -> Tensor:
    """Compute squared distances (B, N) of cells (B, N, D) to one centre (B, 1, D), exactly 0 for equal ones."""
    return torch.cdist(centre, cells, compute_mode='donot_use_mm_for_euclid_dist').squeeze(1).square()

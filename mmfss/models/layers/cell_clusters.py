"""Clusters of the cells of one image by average linkage, and means over them."""
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from .precision import full_precision

CHUNK_SIZE = 256
"""Cells whose distances to all others are computed at a time."""


@dataclass(frozen=True)
class CellClusters:
    """Hold the clusters of the Q cells of an image; there are n.

    Attributes:
        labels (Tensor): Cluster of each cell, numbered by first occurrence, int64, shape (Q, ).
        areas (Tensor): Number of cells of each cluster, float, shape (n, ).
        directions (Tensor): Unit vector of the mean of each cluster's cells, shape (n, C).
    """
    labels: Tensor
    areas: Tensor
    directions: Tensor

    @classmethod
    def of(cls, cells: Tensor, similarity: float) -> 'CellClusters':
        """Cluster unit vectors.

        Args:
            cells (Tensor): Shape (Q, C).
            similarity (float): Mean cosine above which two clusters are joined.
        """
        labels = average_linkage(cells, similarity)
        areas = torch.bincount(labels).to(cells.dtype)
        return cls(labels, areas, F.normalize(cluster_means(cells, labels, areas), dim=-1, eps=1e-12))

    def mean(self, values: Tensor) -> Tensor:
        """Average values (Q, ...) over the cells of each cluster, (n, ...)."""
        return cluster_means(values, self.labels, self.areas)


def cluster_means(values: Tensor, labels: Tensor, areas: Tensor) -> Tensor:
    """Average values (Q, ...) over the cells of each cluster, (n, ...); arguments as in :class:`CellClusters`."""
    sums = values.new_zeros(len(areas), *values.shape[1:]).index_add(0, labels, values)
    return sums / areas.view(-1, *[1] * (values.ndim - 1))


@torch.no_grad()
def average_linkage(cells: Tensor, similarity: float) -> Tensor:
    """Cluster unit vectors agglomeratively by average linkage, with any number of clusters.

    The distance of two cells is 1 minus their cosine. The two clusters of smallest mean distance are joined as long as
    it is below 1 - ``similarity``. Time O(Q^2 C), memory of Q^2 / 2 doubles; computed on the CPU.

    Args:
        cells (Tensor): Unit vectors, shape (Q, C).
        similarity (float): Mean cosine above which two clusters are joined.

    Returns:
        Tensor: Cluster of each cell, numbered by first occurrence, int64, shape (Q, ).

    Example:
        >>> import torch
        >>> from mmfss.models.layers.cell_clusters import average_linkage
        >>> average_linkage(torch.tensor([[1., 0.], [0., 1.], [0.8, 0.6], [0., 1.]]), similarity=0.7)
        tensor([0, 1, 0, 1])
    """
    if len(cells) == 1:
        return torch.zeros(1, dtype=torch.int64, device=cells.device)
    # fcluster joins up to and including its threshold.
    clusters = fcluster(linkage(_condensed_distances(cells), 'average'), np.nextafter(1 - similarity, 0), 'distance')
    _, first, labels = np.unique(clusters, return_index=True, return_inverse=True)
    number = np.empty_like(first)
    number[first.argsort()] = np.arange(len(first))
    return torch.from_numpy(number[labels.ravel()].astype(np.int64)).to(cells.device)


def _condensed_distances(cells: Tensor) -> np.ndarray:
    """Compute 1 - cosine of all pairs i < j, in SciPy's order, Q (Q - 1) / 2 doubles."""
    count = len(cells)
    condensed, filled = np.empty(count * (count - 1) // 2), 0
    for start in range(0, count, CHUNK_SIZE):
        with full_precision(cells.device):
            cosines = cells[start:start + CHUNK_SIZE] @ cells[start:].T  # no pair twice, but for the chunk's own
        for row, values in enumerate((1 - cosines.clamp(-1, 1)).cpu().numpy()):
            others = values[row + 1:]
            condensed[filled:filled + len(others)] = others
            filled += len(others)
    return condensed

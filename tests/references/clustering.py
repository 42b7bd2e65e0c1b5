"""K-means without chance, written out number by number."""
import torch
from torch import Tensor

from mmfss.models.layers.clustering import DISTINCT


def literal_kmeans(cells: Tensor, weights: Tensor, num_clusters: int, num_iterations: int) -> tuple[Tensor, list[bool]]:
    """The definition for one set of cells, number by number."""
    mean = sum(w * x for w, x in zip(weights, cells)) / sum(weights)
    distance = lambda x, y: float(((x - y)**2).sum())  # noqa: E731
    wanted = [float(w) / (distance(x, mean) + 1) for w, x in zip(weights, cells)]
    centres, exists, least = [], [], 0.
    for _ in range(num_clusters):
        best = max(range(len(cells)), key=lambda i: wanted[i])
        exists.append(wanted[best] > least)
        centres.append(cells[best])
        wanted = [float(w) * min(distance(x, c) for c in centres) for w, x in zip(weights, cells)]
        least = DISTINCT
    for _ in range(num_iterations):
        members: list[list[int]] = [[] for _ in centres]
        for i, x in enumerate(cells):
            members[min((m for m in range(num_clusters) if exists[m]), key=lambda m: distance(x, centres[m]))].append(i)
        for m, inside in enumerate(members):
            mass = sum(float(weights[i]) for i in inside)
            if mass > 0:
                centres[m] = sum(weights[i] * cells[i] for i in inside) / mass
    return torch.stack(centres), exists

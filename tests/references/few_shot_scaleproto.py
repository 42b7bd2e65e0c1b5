"""The few-shot ScaleProtoSeg head, written out episode by episode and cell by cell in float64."""
import math
from typing import Any, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.models import FeaturePyramid, FewShotScaleProtoHead
from tests.references.clustering import literal_kmeans


def similarity(d: float, epsilon: float) -> float:
    return math.log((d + 1) / (d + epsilon))


def distance(x: Tensor, y: Tensor) -> float:
    return float(((x - y)**2).sum())


def shares(values: Sequence[Optional[float]]) -> list[float]:
    """Softmax of what exists; 0 for what does not (None)."""
    total = sum(math.exp(v) for v in values if v is not None)
    return [0. if v is None else math.exp(v) / total for v in values]


def project(row: Sequence[Optional[float]]) -> list[float]:
    """Nearest point of the simplex by bisection of the threshold; what does not exist stays 0."""
    there = [v for v in row if v is not None]
    low, high = min(there) - 1, max(there)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(max(v - middle, 0) for v in there) > 1 else (low, middle)
    return [0. if v is None else max(v - low, 0) for v in row]


class LiteralHead:
    """One episode at a time, with the weights of a head in float64.

    Args:
        head (FewShotScaleProtoHead): Whose weights and options.
    """

    def __init__(self, head: FewShotScaleProtoHead) -> None:
        self.head = head
        self.gamma = float((10 * head.sharpness.weight).exp())
        self.tau = (10 * head.temperature.weight).exp().tolist()
        self.focus = float((10 * head.focus.weight).exp()) if head.focus else head.fixed_focus
        self.bias = float(10 * head.scaled_bias)

    def embed(self, levels: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Per scale (K, D, h, w)."""
        scales = []
        for index, maps in enumerate(levels):
            weight = torch.cat([conv.weight for conv in self.head.scales.projections[index]], dim=1)
            norm = self.head.scales.norms[index]
            x = F.group_norm(F.conv2d(torch.cat(tuple(maps), dim=1), weight), len(weight) // 4, norm.weight, norm.bias)
            x = F.interpolate(x, levels[0][0].shape[-2:], mode='bilinear', align_corners=False)
            scales.append(1 / (1 + (-x).exp()))
        return scales

    def side(self, scales: list[list[Tensor]], weights: list[float], side: int) -> dict[str, Any]:
        """Prototypes and groups of one side; cells of every scale as lists of vectors."""
        head, eps = self.head, self.head.epsilon
        found: dict[str, Any] = dict(vectors=[], R=[])
        for tau, cells in zip(self.tau, scales):
            centres, exists = literal_kmeans(torch.stack(cells), torch.tensor(weights), head.prototypes_per_scale[side],
                                             head.num_iterations)
            belongs = [
                shares([self.gamma * similarity(tau * distance(x, c), eps) if there else None
                        for c, there in zip(centres, exists)]) for x in cells
            ]
            vectors, rows = [], []
            for m, there in enumerate(exists):
                row = [w * b[m] for w, b in zip(weights, belongs)]
                row = [r / sum(row) for r in row] if there else [0.] * len(cells)
                vector = sum(r * x for r, x in zip(row, cells)) if there else None
                if head.snap and there:
                    core = [i for i, w in enumerate(weights) if 2 * w >= max(weights)]
                    source = min(core, key=lambda i: distance(cells[i], vector))
                    row, vector = [float(i == source) for i in range(len(cells))], cells[source]
                vectors.append(vector)
                rows.append(row)
            found['vectors'].append(vectors)
            found['R'].append(rows)

        joint = [torch.cat(views) for views in zip(*scales)]
        centres, exists = literal_kmeans(torch.stack(joint), torch.tensor(weights), head.num_groups[side],
                                         head.num_iterations)
        width = len(scales[0][0])
        parts = []
        for x in joint:
            d = [sum(tau * distance(x[s * width:(s + 1) * width], c[s * width:(s + 1) * width])
                     for s, tau in enumerate(self.tau)) / len(self.tau) for c in centres]
            parts.append(shares([self.gamma * similarity(v, eps) if there else None for v, there in zip(d, exists)]))
        found['G'] = []
        for k, there in enumerate(exists):
            row = [
                None if vector is None else self.focus * sum(r * u[k] for r, u in zip(R, parts)) +
                float(head.preference[side, s]) for s, (vectors, rows) in enumerate(zip(found['vectors'], found['R']))
                for vector, R in zip(vectors, rows)
            ]
            found['G'].append(project(row) if there else None)
        return found

    def encode(self, support: FeaturePyramid, mask: Tensor) -> list[dict[str, Any]]:
        """Of one episode: features of K images, masks (K, H, W)."""
        scales = [list(x.permute(0, 2, 3, 1).flatten(0, 2)) for x in self.embed(support.levels)]
        weights = F.adaptive_avg_pool2d(mask[None], support.sizes[0]).flatten().tolist()
        sides = []
        for side, own in enumerate((weights, [1 - w for w in weights])):
            if sum(own):
                sides.append(self.side(scales, own, side))
            else:
                sides.append(dict(vectors=[[None] * self.head.prototypes_per_scale[side]] * len(scales), R=None,
                                  G=[None] * self.head.num_groups[side]))
        return sides

    def odds(self, query: FeaturePyramid, sides: list[dict[str, Any]]) -> Tensor:
        """Log odds (h, w) of one query by the groups alone."""
        scales = self.embed(query.levels)
        height, width = query.sizes[0]
        odds = torch.empty(height, width, dtype=torch.float64)
        for row in range(height):
            for column in range(width):
                said = []
                for side in sides:
                    a = [0. if vector is None else similarity(tau * distance(z[0, :, row, column], vector),
                                                              self.head.epsilon)
                         for tau, z, vectors in zip(self.tau, scales, side['vectors']) for vector in vectors]
                    existing = [G for G in side['G'] if G is not None]
                    groups = [math.exp(self.gamma * sum(g * v for g, v in zip(G, a))) for G in existing]
                    said.append(math.log(sum(groups) / len(groups)) if groups else 0.)
                odds[row, column] = said[0] - said[1] + self.bias
        return odds

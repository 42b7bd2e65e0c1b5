"""Evidence that a query shows a class at all, from features alone, whatever the head."""
from dataclasses import dataclass
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .class_prototypes import to_cells
from .precision import full_precision
from .pyramid_scales import cell_shares
from .pytrees import pytree

MATCHING = ('region', 'best cells', 'support', 'prototype')
"""Names of the values of :meth:`PresenceCells.evidence`."""

EVIDENCE = (*MATCHING, 'confidence')
"""All evidence: that of the features, and the largest log odds of the foreground in the prediction."""

BEST_CELLS = 0.05
"""Share of the query that an object covers at least."""


@pytree
@dataclass(frozen=True)
class PresenceCells:
    """Hold the support cells of B classes, by which their presence in queries is judged.

    Letters: N = K * h * w support cells, C channels, Q query cells.

    Attributes:
        cells (Tensor): Unit vectors, after the mean of all cells was subtracted, shape (B, N, C).
        centre (Tensor): This mean, shape (B, 1, C).
        weights (Tensor): Share of each cell that the mask covers, shape (B, N).
    """
    cells: Tensor
    centre: Tensor
    weights: Tensor

    @classmethod
    def of(cls, feature: Tensor, masks: Tensor) -> 'PresenceCells':
        """Make them of a feature map (B * K, C, h, w) and masks (B, K, H, W)."""
        cells = to_cells(feature).unflatten(0, masks.shape[:2]).flatten(1, 2)
        centre = cells.mean(1, keepdim=True)
        return cls(F.normalize(cells - centre, dim=-1), centre, cell_shares(masks, feature.shape[-2:]))

    def evidence(self, feature: Tensor, foreground: Tensor) -> Tensor:
        """Compare queries with the supports.

        A cell's margin is its largest cosine with a cell of the object minus its largest with a cell of the background,
        in the other image. The four values of :data:`MATCHING`, the larger the more likely the class is there:

        - *region*: mean margin of the query's cells, weighted by the predicted foreground;
        - *best cells*: mean of the 5 % largest margins of the query's cells;
        - *support*: how much better the object's cells find a match in the query than the background's do;
        - *prototype*: cosine of the means of object and predicted foreground.

        Time O(Q N C), memory O(Q N).

        Args:
            feature (Tensor): Feature map of B queries, the layer of :meth:`of`, shape (B, C, h, w).
            foreground (Tensor): Predicted probability of the class, shape (B, H, W).

        Returns:
            Tensor: Shape (B, 4), finite.
        """
        with full_precision(feature.device):
            query = F.normalize(to_cells(feature) - self.centre, dim=-1)
            cosines = query @ self.cells.transpose(1, 2)
            predicted = cell_shares(foreground[:, None], feature.shape[-2:])
            inside, outside = self._sides()
            margins = _largest(cosines, inside[:, None], 2) - _largest(cosines, outside[:, None], 2)
            best = margins.topk(max(1, round(BEST_CELLS * margins.shape[1])), dim=1).values.mean(1)
            matched = cosines.amax(1)
            support = _mean(matched, inside) - _mean(matched, outside)
            means = [(weights[..., None] * x).sum(1)
                     for weights, x in ((self.weights, self.cells), (predicted, query))]
            return torch.stack((_mean(margins, predicted), best, support, F.cosine_similarity(*means, dim=1)), dim=1)

    def _sides(self) -> tuple[Tensor, Tensor]:
        """Select the cells that show mostly the object, at least the best one, and those that show none of it."""
        most = self.weights.amax(1, keepdim=True)
        inside = (self.weights >= 0.5 * most) & (self.weights > 0)
        return inside, self.weights < 0.5 * most.clamp(max=1)


@dataclass(frozen=True)
class PresenceCalibration:
    """Turn evidence into the probability that the class is there: a logistic function, fitted on training classes.

    Attributes:
        mean (Sequence[float]): Mean of each value of the evidence.
        scale (Sequence[float]): Standard deviation of each.
        weights (Sequence[float]): Weight of each standardized value.
        bias (float): Log odds where all are at their mean.
    """
    mean: Sequence[float]
    scale: Sequence[float]
    weights: Sequence[float]
    bias: float

    def __call__(self, evidence: Tensor) -> Tensor:
        """Return probabilities (B, ) of evidence (B, E)."""
        mean, scale, weights = (evidence.new_tensor(list(x)) for x in (self.mean, self.scale, self.weights))
        return (((evidence - mean) / scale) @ weights + self.bias).sigmoid()

    @classmethod
    def fit(cls, evidence: Tensor, present: Tensor, penalty: float = 1e-2) -> 'PresenceCalibration':
        """Fit by maximum likelihood with a quadratic penalty, by Newton's method in float64.

        No weight is negative, because more evidence never makes a class less likely: the value of the most negative
        weight is left out until there is none.

        Args:
            evidence (Tensor): Of M episodes, shape (M, E).
            present (Tensor): Whether the class is there, bool, shape (M, ).
            penalty (float): Weight of half the squared weights against the mean log likelihood. Defaults to 1e-2.

        Raises:
            ValueError: If all episodes show the class, or none does.
        """
        if present.all() or not present.any():
            raise ValueError('Presence is calibrated on episodes with and without the class; got only one kind.')
        evidence, target = evidence.double().cpu(), present.double().cpu()
        mean, scale = evidence.mean(0), evidence.std(0).clamp(min=1e-6)
        inputs, kept = (evidence - mean) / scale, list(range(evidence.shape[1]))
        weights, bias = _fit_logistic(inputs, target, penalty)
        while (weights < 0).any():
            kept.pop(int(weights.argmin()))
            weights, bias = _fit_logistic(inputs[:, kept], target, penalty)
        every = torch.zeros_like(mean)
        every[kept] = weights
        return cls(mean.tolist(), scale.tolist(), every.tolist(), float(bias))


def _fit_logistic(inputs: Tensor, target: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Fit weights (E, ) and bias of inputs (M, E) to a target of 0 and 1."""
    inputs = torch.cat((inputs, torch.ones_like(target)[:, None]), dim=1)
    damping = torch.full((inputs.shape[1], ), penalty, dtype=torch.float64)
    damping[-1] = 1e-6  # nearly free
    weights = torch.zeros(inputs.shape[1], dtype=torch.float64)
    for _ in range(50):
        probability = (inputs @ weights).sigmoid()
        gradient = inputs.T @ (probability - target) / len(target) + damping * weights
        curvature = (inputs * (probability * (1 - probability))[:, None]).T @ inputs / len(target)
        weights = weights - torch.linalg.solve(curvature + damping.diag(), gradient)
    return weights[:-1], weights[-1]


def _largest(cosines: Tensor, selected: Tensor, dim: int) -> Tensor:
    """Return the largest cosine among selected cells along an axis, -1 where none is selected."""
    return cosines.masked_fill(~selected, -1.).amax(dim)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Average along the last axis; 0 where all weights are 0."""
    weights = weights.to(values.dtype)
    return (values * weights).sum(-1) / weights.sum(-1).clamp(min=1e-6)

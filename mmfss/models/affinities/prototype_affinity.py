"""Affinity of query and support through prototypes."""
import torch
from torch import Tensor

from ..layers.precision import full_precision
from .affinity import CHUNK_SIZE, Affinity


class PrototypeAffinity(Affinity):
    r"""Score support positions through prototypes, which are means of support positions.

    Letters: B episodes, P prototypes, Q query and S support positions. With :math:`\pi_{qp}` the probability that query
    position q belongs to prototype p (softmax of its similarities times a sharpness) and :math:`R_{ps}` the weight of
    support position s in prototype p (rows of sum 1), the affinity is their product,

    .. math:: A_{qs} = \sum_p \pi_{qp} R_{ps},

    a matrix of rank P whose rows sum to 1. The scores are its logarithm, so that their softmax is A itself. Both
    readings, A V and A^T W, cost O(P (Q + S)) and never build it.

    Args:
        similarities (Tensor): Of query positions to prototypes, 0 where a prototype does not exist, shape (B, P, Q).
        assignments (Tensor): R, shape (B, P, S), or (1, P, S) to share one support set.
        exists (Tensor): Which prototypes exist, at least one, bool, shape (B, P) or (1, P).
        sharpness (Tensor): Factor of the similarities, a scalar.
        query_size (tuple[int, int]): (h, w).
        support_size (tuple[int, int, int]): (K, h', w').
    """

    def __init__(self, similarities: Tensor, assignments: Tensor, exists: Tensor, sharpness: Tensor,
                 query_size: tuple[int, int], support_size: tuple[int, int, int]) -> None:
        super().__init__(query_size, support_size)
        self.similarities = similarities
        self.assignments = assignments
        self.exists = exists
        self.sharpness = sharpness

    def memberships(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Return the probabilities pi of query positions ``start`` to ``stop``, shape (B, P, stop - start)."""
        return memberships(self.similarities[..., start:stop], self.exists, self.sharpness)

    def scores(self, start: int, stop: int) -> Tensor:
        """Compute log A, at least the logarithm of the smallest number."""
        with full_precision(self.similarities.device):
            product = self.memberships(start, stop).transpose(1, 2) @ self.assignments
            return product.clamp(min=torch.finfo(product.dtype).tiny).log()

    def attend(self, values: Tensor) -> Tensor:
        with full_precision(values.device):
            read = self.assignments @ values.to(self.assignments.dtype)
            return self.memberships().transpose(1, 2) @ read

    def vote(self, weights: Tensor, softmax: bool = True, chunk_size: int = CHUNK_SIZE) -> Tensor:
        if not softmax:
            return super().vote(weights, softmax, chunk_size)
        with full_precision(weights.device):
            votes = self.memberships().to(weights.dtype) @ weights
            return self.assignments.to(weights.dtype).transpose(1, 2) @ votes


def memberships(similarities: Tensor, exists: Tensor, sharpness: Tensor) -> Tensor:
    """Compute the probabilities that cells belong to prototypes, softmax over existing prototypes.

    Args:
        similarities (Tensor): Shape (..., P, N).
        exists (Tensor): Bool, shape (..., P).
        sharpness (Tensor): Factor of the similarities.

    Returns:
        Tensor: Shape (..., P, N), sum 1 over the prototypes; all 0 where none exists.
    """
    exists = exists[..., None]
    logits = (sharpness * similarities).masked_fill(~exists, torch.finfo(similarities.dtype).min)
    return logits.softmax(-2) * exists

"""Prototypes of classes as weighted sums of support cells, and what every cell adds to their maps."""
from dataclasses import dataclass
from typing import Literal, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import full_precision
from .pytrees import pytree

EMPTY = 5e-4
"""Total weight of cells below which there are none: a resized mask of ones leaves that much rounding noise."""

AttributionKind = Literal['readout', 'removal']


@pytree
@dataclass
class ClassPrototypes:
    r"""Hold the prototypes of G classes, made of the cells of B support sets in one compared layer.

    Letters: P prototypes of a class, N = K * h * w support cells, shot by shot and in raster order within each, C
    channels, Q query cells.

    A prototype is a sum of cells, :math:`p = \sum_j R_j x_j`. Its map is its cosine with the query cells. The Gram map
    of a class is :math:`q^T G q` with :math:`G = \sum_j w_j \hat x_j \hat x_j^T / \sum_j w_j` and cells
    :math:`\hat x` of length 1.

    Attributes:
        cells (Tensor): x, shape (B, N, C), at least float32.
        weights (Tensor): How much each cell belongs to each class, w, not negative, shape (B, G, N); all 0 for a class
            that is empty.
        assignments (Tensor): R: not negative, sum 1 over the cells, or 0 for a prototype that does not exist; shape
            (B, G, P, N).
        vectors (Tensor): p, shape (B, G, P, C).
        grams (Tensor, optional): G, shape (B, G, C, C); None without Gram maps.
        size (tuple[int, int, int]): (K, h, w).
    """
    cells: Tensor
    weights: Tensor
    assignments: Tensor
    vectors: Tensor
    grams: Optional[Tensor]
    size: tuple[int, int, int]

    @classmethod
    def of_members(cls, cells: Tensor, weights: Tensor, members: Tensor, size: tuple[int, int, int],
                   gram: bool = False) -> 'ClassPrototypes':
        """Average the members of each prototype.

        Args:
            cells (Tensor): Shape (B, N, C).
            weights (Tensor): Shape (B, G, N).
            members (Tensor): How much each cell counts in each prototype, not negative, shape (B, G, P, N).
            size (tuple[int, int, int]): (K, h, w).
            gram (bool): Whether to compute the Gram matrices. Defaults to False.
        """
        assignments = shares(members)
        grams = None
        if gram:
            unit = F.normalize(cells, dim=-1)[:, None]
            grams = (unit * shares(weights)[..., None]).transpose(-1, -2) @ unit
        return cls(cells, weights, assignments, assignments @ cells[:, None], grams, size)

    @property
    def exists(self) -> Tensor:
        """Whether there is each prototype, bool, (B, G, P)."""
        return self.assignments.sum(-1) > 0

    @property
    def class_exists(self) -> Tensor:
        """Whether a class has cells, bool, (B, G)."""
        return self.exists.any(-1)

    def cosine_maps(self, query: Tensor) -> Tensor:
        """Compute the cosines of the prototypes with query cells (B, Q, C): (B, G, P, Q), 0 without a prototype."""
        with full_precision(query.device):
            return F.normalize(self.vectors, dim=-1) @ F.normalize(query, dim=-1)[:, None].transpose(-1, -2)

    def gram_maps(self, query: Tensor) -> Tensor:
        """Compute the Gram maps of query cells (B, Q, C), which are not normalized: (B, G, Q), 0 without cells."""
        with full_precision(query.device):
            return ((query[:, None] @ self.grams) * query[:, None]).sum(-1)

    def cosine_contributions(self, query: Tensor, weights: Tensor, kind: AttributionKind) -> Tensor:
        r"""Attribute a weighted sum of :meth:`cosine_maps` to the support cells.

        With :math:`\bar q = \sum_t v_t \hat q_t`, ``readout`` is :math:`R_j\, x_j \cdot \bar q / |p|`; its sum over
        the cells is the sum of the map. ``removal`` is the change of the sum when cell j is taken out of the prototype,

        .. math:: \frac{p \cdot \bar q}{|p|} - \frac{(p - R_j x_j) \cdot \bar q}{|p - R_j x_j|}.

        A prototype that loses its last cell loses its map. Time O(B N C (1 + G P)).

        Args:
            query (Tensor): Shape (B, Q, C).
            weights (Tensor): v, shape (B, Q).
            kind (str): ``'readout'`` or ``'removal'``.

        Returns:
            Tensor: Shape (B, G, P, N).
        """
        pooled = (weights[..., None] * F.normalize(query, dim=-1)).sum(1)
        dots = self.assignments * (self.cells @ pooled[..., None])[:, None, None, :, 0]
        length = self.vectors.norm(dim=-1, keepdim=True)
        if kind == 'readout':
            return dots / length.clamp(min=tiny(length))
        whole = dots.sum(-1, keepdim=True)
        # |p - R_j x_j|^2 = |p|^2 - 2 R_j x_j p + R_j^2 |x_j|^2
        overlaps = self.assignments * (self.vectors @ self.cells[:, None].transpose(-1, -2))
        squares = self.assignments.square() * self.cells.square().sum(-1)[:, None, None]
        lengths = (length.square() - 2 * overlaps + squares).clamp(min=0).sqrt()
        total = (self.assignments > 0) * self.weights[:, :, None]
        left = total.sum(-1, keepdim=True) - total > EMPTY
        without = torch.where(left, (whole - dots) / lengths.clamp(min=tiny(lengths)), torch.zeros_like(dots))
        return torch.where(self.assignments > 0, whole / length.clamp(min=tiny(length)) - without,
                           torch.zeros_like(dots))

    def gram_contributions(self, query: Tensor, weights: Tensor, kind: AttributionKind) -> Tensor:
        r"""Attribute a weighted sum of :meth:`gram_maps` to the support cells.

        With :math:`z_j = \sum_t v_t (\hat x_j \cdot q_t)^2` and W the weight of all cells, ``readout`` is
        :math:`w_j z_j / W`, never negative for :math:`v \ge 0`; ``removal`` is
        :math:`w_j (z_j - \bar g) / (W - w_j)` with the sum of the map :math:`\bar g`, and :math:`\bar g` itself for
        the last cell. Time O(B (Q + N) C^2).

        Args:
            query (Tensor): Shape (B, Q, C).
            weights (Tensor): v, shape (B, Q).
            kind (str): ``'readout'`` or ``'removal'``.

        Returns:
            Tensor: Shape (B, G, N).
        """
        unit = F.normalize(self.cells, dim=-1)
        moments = (query * weights[..., None]).transpose(-1, -2) @ query
        found = ((unit @ moments) * unit).sum(-1)[:, None]
        readout = shares(self.weights) * found
        if kind == 'readout':
            return readout
        whole, left = readout.sum(-1, keepdim=True), self.weights.sum(-1, keepdim=True) - self.weights
        effect = torch.where(left > EMPTY, self.weights * (found - whole) / left.clamp(min=EMPTY), whole)
        return torch.where(self.weights > 0, effect, torch.zeros_like(effect))


def to_cells(feature: Tensor) -> Tensor:
    """Turn a feature map into cells, (B, C, h, w) -> (B, h * w, C), at least float32."""
    return feature.flatten(2).transpose(1, 2).to(torch.promote_types(feature.dtype, torch.float32))


def shares(weights: Tensor) -> Tensor:
    """Divide weights by their sum along the last axis; all 0 stays 0."""
    return weights / weights.sum(-1, keepdim=True).clamp(min=tiny(weights))


def tiny(x: Tensor) -> float:
    """Return the smallest number of a tensor's type."""
    return torch.finfo(x.dtype).tiny

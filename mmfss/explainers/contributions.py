"""Contributions of support positions, layers and supports to a query region (AffEx, Affinity Explainer)."""
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional, Sequence

import torch
from torch import Tensor

from mmfss.models.affinities import Affinity
from mmfss.models.layers import resize_adjoint, resize_unaligned

EPS = 1e-6
"""Keeps a support position that receives no affinity, and a layer without contributions, finite."""


class RegionWeights:
    """Turn a region and the whole query into weights of the query positions of any layer.

    Args:
        region (Tensor): Pixels of the query, boolean, shape (B, H, W), no element empty.
        dtype (torch.dtype): Of the weights.
    """

    def __init__(self, region: Tensor, dtype: torch.dtype) -> None:
        self.num_pixels = region.sum((1, 2)).to(dtype)
        self.images = torch.stack((region, torch.ones_like(region)), dim=1).to(dtype)
        self._weights: dict[tuple[int, int], Tensor] = {}

    def at(self, size: tuple[int, int]) -> Tensor:
        """Compute weights (B, h * w, 2) of the positions of a layer: in the region, and in the whole query."""
        if size not in self._weights:
            # With antialiasing, which acts where there are fewer pixels than positions.
            self._weights[size] = resize_adjoint(self.images, size, antialias=True).flatten(2).transpose(1, 2)
        return self._weights[size]


def region_shares(affinity: Affinity, weights: RegionWeights, softmax: bool, chunk_size: int) -> Tensor:
    """Compute the share of each support position's affinity that goes to the region, per pixel of the region.

    The definition resizes the column of every support position s in the affinity P = softmax(S) to the pixels of the
    query, divides it by its sum plus 1e-6 and averages it over the region R. Resizing is linear, U p_s, so only two
    weighted sums over the query positions are needed:

        c_s = <p_s, U^T 1_R> / (|R| (<p_s, U^T 1> + 1e-6))

    A position that hardly votes for anything has a large share if its few votes go to R.

    Args:
        affinity (Affinity): Of one layer, with Q query positions and S = K * h' * w' support positions.
        weights (RegionWeights): The region, of B queries.
        softmax (bool): Whether P is the softmax of the scores or the scores themselves.
        chunk_size (int): Query positions handled at a time: memory is O(chunk_size S).

    Returns:
        Tensor: Shape (B, K, h', w').
    """
    return region_reading(affinity, weights, softmax, chunk_size)[0]


def region_reading(affinity: Affinity, weights: RegionWeights, softmax: bool,
                   chunk_size: int) -> tuple[Tensor, Optional[Tensor]]:
    """Compute the shares of :func:`region_shares`, and what the region keeps to its own image.

    Arguments as there.

    Returns:
        tuple[Tensor, Optional[Tensor]]: The shares (B, K, h', w'); and the part of the region's attention that goes to
        the query itself, (B, ) in [0, 1], or None if the affinity runs over supports alone.
    """
    of_query = weights.at(affinity.query_size)
    votes = affinity.vote(of_query, softmax, chunk_size)
    inside, everywhere = votes.unbind(-1)
    shares = inside / (weights.num_pixels[:, None] * (everywhere + EPS))
    # What the supports receive of the region's votes is what the query does not keep.
    kept = 1 - inside.sum(1) / of_query[..., 0].sum(1) if softmax and affinity.attends_to_query else None
    return shares.unflatten(1, affinity.support_size), kept


@dataclass(frozen=True)
class Contributions:
    """Hold the contributions of layers, supports and positions to the prediction of each class in its region.

    Letters: N ways, L compared layers in the order of :meth:`MatchingHead.match`, K shots, layer l of (h', w') support
    positions, maps of (H, W) pixels.

    Attributes:
        shares (tuple[Tensor, ...]): Per layer the share c of every support position, see :func:`region_shares`, (N, K,
            h', w').
        effects (Tensor, optional): Effect of removing each layer on the mean foreground logit of the region, not
            negative, (N, L); None if layers were not ablated.
        weights (Tensor): Weight of each layer in the attribution, not negative, sum 1 over the layers, (N, L): which
            scale carried the prediction.
        size (tuple[int, int]): (H, W) of the maps.
        region (Tensor): The pixels that were explained, boolean, (N, T_h, T_w).
        own_shares (Tensor, optional): Part of its attention that the region keeps to the query itself in each layer,
            (N, L), of models whose query also attends to its own image.
    """
    shares: tuple[Tensor, ...]
    effects: Optional[Tensor]
    weights: Tensor
    size: tuple[int, int]
    region: Tensor
    own_shares: Optional[Tensor] = None

    @cached_property
    def normalized(self) -> tuple[Tensor, ...]:
        """Per layer (N, K, h', w'): shares divided by the sum that they have as maps of (H, W) pixels, plus 1e-6."""
        return tuple(shares / (self._pixel_sums(shares).sum(1)[:, None, None, None] + EPS) for shares in self.shares)

    @cached_property
    def layer_shots(self) -> Tensor:
        """Compute the share of each support in a layer's contribution, (N, L, K), sum (about) 1 over the supports."""
        return torch.stack([self._pixel_sums(layer) for layer in self.normalized], dim=1)

    @property
    def shots(self) -> Tensor:
        """Compute the share of each support in all contributions, (N, K), sum (about) 1 over the supports."""
        return (self.weights[..., None] * self.layer_shots).sum(1)

    def layer_map(self, layer: int) -> Tensor:
        """Resize the contribution of a layer to pixels, (N, K, H, W), sum (about) 1 over the supports of a class."""
        return resize_unaligned(self.normalized[layer], self.size)

    def by_size(self) -> dict[tuple[int, int], Tensor]:
        """Add up the weighted contributions of the layers of each size (h', w'), (N, K, h', w')."""
        totals: dict[tuple[int, int], Tensor] = {}
        for layer, weight in zip(self.normalized, self.weights.unbind(1)):
            size = tuple(layer.shape[-2:])
            totals[size] = totals.get(size, 0) + weight[:, None, None, None] * layer
        return totals

    def combined(self) -> Tensor:
        """Add up the weighted contributions of all layers, (N, K, H, W), sum (about) 1 over a class's supports.

        Layers of one size are added up before they are resized.
        """
        return sum(resize_unaligned(maps, self.size) for maps in self.by_size().values())

    def summary(self) -> dict[str, Any]:
        """Summarize the contributions in plain numbers, for a report.

        Returns:
            dict: ``layers`` (N lists of L weights), ``shots`` (N lists of K parts), ``layer_shots`` (N x L x K) and
            ``layer_sizes`` (L pairs (h', w') of support positions, which distinguish the scales); ``own_shares`` (N
            lists of L parts) if the query also attends to itself.
        """
        own = {} if self.own_shares is None else dict(own_shares=self.own_shares.tolist())
        return dict(
            layers=self.weights.tolist(), shots=self.shots.tolist(), layer_shots=self.layer_shots.tolist(),
            layer_sizes=[list(shares.shape[-2:]) for shares in self.shares], **own)

    def _pixel_sums(self, maps: Tensor) -> Tensor:
        """Compute the sums (N, K) of maps (N, K, h', w') after resizing."""
        ones = maps.new_ones(1, 1, *self.size)
        return (maps * resize_adjoint(ones, maps.shape[-2:])).sum((2, 3))


def layer_weights(effects: Tensor, query_sizes: Sequence[tuple[int, int]], order: str) -> Tensor:
    """Turn effects of layers into weights of their contributions.

    Args:
        effects (Tensor): Not negative, shape (B, L).
        query_sizes (Sequence[tuple[int, int]]): Size (h, w) of each layer.
        order (str): 'aligned': each layer has its own weight. 'reference', as released with the paper: the weights are
            listed from the coarsest size to the finest, but multiplied, position by position, with contributions in the
            order of the layers. A head that lists its coarsest layers first is not touched by the difference.

    Returns:
        Tensor: Shape (B, L), sum 1; equal weights for an episode in which no layer has an effect.
    """
    if order == 'reference':
        effects = effects[:, sorted(range(len(query_sizes)), key=lambda layer: query_sizes[layer])]
    total = effects.sum(1, keepdim=True)
    return torch.where(total > 0, effects / total, torch.full_like(effects, 1 / effects.shape[1]))

"""Base class of heads that decode a pyramid of 4-D correlations."""
from itertools import islice
from typing import Any, Iterator, Optional, Sequence

import torch
from torch import Tensor

from ..affinities import CorrelationAffinity
from ..features import FeaturePyramid
from ..layers import HypercorrelationLearner, find_shot_rule, query_major, resize_aligned
from ..layers.exporting import exporting
from ..layers.hypercorrelation_learner import SUPPORT_STRIDES
from .matching_head import MatchingHead, foreground_mean


class CorrelationHead(MatchingHead):
    """Decode the correlations of the three coarsest levels, separately for each support.

    Letters: B episodes, K shots, P sides of a support that are correlated (foreground, or that and background), L
    layers of a level. Compared layers go from the coarsest level to the finest, in each in network order. The evidence
    of a layer is its correlation tensor (B, K, P, h, w, h', w'); the prediction is made from side 0.

    A prediction squeezes one level of one shot at a time. Its memory does not grow with K.

    Args:
        in_channels, loss_decode, ignore_index, init_cfg: See :class:`MatchingHead`. Of more than three levels the
            finest are not used; a feature reader with ``num_levels=3`` does not read them.
        shots (str): Rule that combines the predictions of several supports: ``'vote'``, as published, ``'mean'`` or
            another of :data:`~mmfss.models.layers.shot_combination.SHOT_RULES`. Defaults to 'vote'.
        support_strides (Sequence[Sequence[int]]): See :class:`HypercorrelationLearner`.

    Raises:
        ValueError: If there are fewer than three levels, or the rule is unknown.
    """

    shots_apart = True
    sides = 1
    """P."""

    def __init__(self,
                 in_channels: Sequence[Sequence[int]],
                 shots: str = 'vote',
                 support_strides: Sequence[Sequence[int]] = SUPPORT_STRIDES,
                 loss_decode: Optional[dict] = None,
                 ignore_index: Optional[int] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(in_channels, loss_decode, ignore_index, init_cfg)
        if len(self.in_channels) < 3:
            raise ValueError(f'{type(self).__name__} reads 3 feature levels, got {len(self.in_channels)}.')
        self.layers_of_level = [len(level) for level in self.in_channels[:-4:-1]]
        self.shot_rule = find_shot_rule(shots)
        self.learner = HypercorrelationLearner(self.layers_of_level, support_strides)

    @staticmethod
    def compared(pyramid: FeaturePyramid) -> list[Tensor]:
        """List the compared maps, from the coarsest level to the finest."""
        return [feature for level in pyramid.levels[:-4:-1] for feature in level]

    def check_support(self, support: FeaturePyramid, masks: Tensor) -> None:
        """Raise a ValueError if supports of this size cannot be used."""
        self.learner.check_support(support.sizes[:-4:-1], masks.shape[-2:])

    def aggregate(self, affinity: CorrelationAffinity, encoding: Any) -> Tensor:
        """Return the correlations of one layer in [0, 1], shape (B, K, P, h, w, h', w')."""
        return affinity.correlations()

    def decode(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: Any) -> Tensor:
        return self._combined(self._squeezed(evidence, slice(0, 1)))[:, :, 0]

    def forward(self, query: FeaturePyramid, encoding: Any) -> Tensor:
        return self.logits_of_sides(query, encoding, 1)[:, :, 0]

    def combine_shots(self, logits: Tensor, size: Sequence[int], for_loss: bool = False) -> Tensor:
        batch, shots = logits.shape[:2]
        logits = resize_aligned(logits.flatten(0, 1), size).unflatten(0, (batch, shots))
        return logits[:, 0] if shots == 1 else self.shot_rule(logits)

    def layer_effects(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: Any, region: Tensor) -> Tensor:
        """Measure the effect (B, L) of removing each layer on the foreground logit, averaged over region and shots."""

        def mean_logit(logits: Tensor) -> Tensor:
            shots = logits.shape[1]
            foreground = foreground_mean(logits[:, :, 0].flatten(0, 1), region.repeat_interleave(shots, dim=0))
            return foreground.view(-1, shots)

        whole, *ablated = (mean_logit(logits) for logits in self.ablations(evidence, 1))
        return torch.stack([(whole - without).abs().mean(1) for without in ablated], dim=1)

    def logits_of_sides(self, query: FeaturePyramid, encoding: Any, sides: int) -> Tensor:
        """Compute the logits of every shot for the first ``sides`` sides, shape (B, K, sides, 2, h, w)."""
        affinities, squeezed = self.match(query, encoding), []
        for squeeze, count in zip(self.learner.squeeze, self.layers_of_level):
            level = list(islice(affinities, count))
            shots = [squeeze(stack_level(level, shot, sides)) for shot in range(level[0].num_shots)]
            squeezed.append(torch.stack([shot.unflatten(0, (-1, sides)) for shot in shots], dim=1))
        return self._combined(squeezed)

    def ablations(self, evidence: Sequence[Tensor], sides: int) -> Iterator[Tensor]:
        """Yield logits (B, K, sides, 2, h, w) of all evidence, then without each compared layer.

        Each unchanged level is squeezed only once.

        Args:
            evidence (Sequence[Tensor]): Results of :meth:`aggregate`.
            sides (int): How many sides of the supports to decode.
        """
        used = slice(0, sides)
        whole = self._squeezed(evidence, used)
        yield self._combined(whole)
        for layer in range(len(evidence)):
            level, first = self._level_of(layer)
            stop = first + self.layers_of_level[level]
            changed = [torch.zeros_like(x) if i == layer else x for i, x in enumerate(evidence[:stop])][first:]
            yield self._combined([
                self._squeezed_level(level, changed, used) if index == level else x for index, x in enumerate(whole)])

    def _level_of(self, layer: int) -> tuple[int, int]:
        """Return the level of a compared layer, and the first layer of that level."""
        first = 0
        for level, count in enumerate(self.layers_of_level):
            if layer < first + count:
                return level, first
            first += count
        raise IndexError(layer)

    def _squeezed(self, evidence: Sequence[Tensor], sides: slice) -> list[Tensor]:
        layers = iter(evidence)
        return [self._squeezed_level(level, list(islice(layers, count)), sides)
                for level, count in enumerate(self.layers_of_level)]

    def _squeezed_level(self, level: int, evidence: Sequence[Tensor], sides: slice) -> Tensor:
        """Squeeze the evidence of a level, shot by shot, to (B, K, P, C, h, w, h', w')."""
        shots = []
        for shot in range(evidence[0].shape[1]):
            stack = torch.stack([layer[:, shot, sides] for layer in evidence], dim=2)
            shots.append(self.learner.squeeze[level](stack.flatten(0, 1)).unflatten(0, stack.shape[:2]))
        return torch.stack(shots, dim=1)

    def _combined(self, squeezed: Sequence[Tensor]) -> Tensor:
        """Combine squeezed levels into logits (B, K, P, 2, h, w)."""
        lead = squeezed[0].shape[:3]
        return self.learner.combine([level.flatten(0, 2) for level in squeezed]).unflatten(0, lead)


def stack_level(level: Sequence[CorrelationAffinity], shot: int, sides: int) -> Tensor:
    """Stack the correlations of a level's layers with one shot, shape (B * sides, L, h, w, h', w').

    Without gradients, they are written in place, without copies.
    """
    first = level[0]
    recorded = torch.is_grad_enabled() and any(x.requires_grad for a in level for x in (a.query, *a.sides))
    if recorded or exporting():
        layers = [torch.stack([a.correlation(shot, side) for side in range(sides)], dim=1) for a in level]
        return torch.stack(layers, dim=2).flatten(0, 1)
    batch = len(first.query)
    stack = query_major(batch * sides, len(level), first.query_size, first.support_size[1:], first.query)
    by_side = stack.unflatten(0, (batch, sides))
    for index, affinity in enumerate(level):
        for side in range(sides):
            affinity.correlation(shot, side, out=by_side[:, side, index])
    return stack

"""Coarse scores of DMTNet's reference cases that are equal within rounding, and what the reference decided there.

The coarse mask of a compared layer says of every query position whether the scores of the foreground are larger. Where
both are equal to 1e-5, the last bits of a matrix product decide, which differ between CPUs, and all that is computed
from the mask follows: logits move by up to 3e-3. These few decisions are taken as the reference took them, which is
also what float64 says, so that everything else is compared as closely as it deserves.
"""
from contextlib import contextmanager
from typing import Iterator, Mapping
from unittest import mock

import torch
from torch import Tensor

from mmfss.models import DMTNetHead
from mmfss.models.heads import dmtnet_head
from mmfss.models.heads.dmtnet_head import SupportLayer

Place = tuple[int, int, int, int, int]
"""Layer from coarse to fine, sample, shot, row and column."""

OF_QUERIES: dict[str, dict[Place, bool]] = dict(
    r50_136_ellipse={},
    r50_136={(8, 1, 2, 6, 1): False, (9, 1, 2, 2, 14): True, (11, 1, 1, 5, 12): False},
    vgg16_138={(4, 0, 2, 0, 6): False})
"""Whether the reference takes the position of the query for foreground. All other gaps are above 2.6e-5."""
OF_SUPPORTS: dict[str, dict[Place, bool]] = dict(
    r50_136_ellipse={},
    r50_136={(10, 1, 1, 5, 5): True, (10, 1, 2, 0, 4): True, (11, 0, 2, 4, 2): False, (12, 1, 1, 3, 6): True},
    vgg16_138={(1, 1, 2, 2, 5): True, (4, 1, 0, 12, 16): False, (5, 1, 1, 9, 10): False, (6, 0, 2, 13, 8): False})
"""The same where every support is segmented by itself; all other gaps are above 4e-5, rounding is up to 2e-5."""
ROUNDING = 1.5e-5


def of_supports(name: str, shots: int = 3) -> dict[Place, bool]:
    """Ties when all supports, shot by shot of each sample, are queries with one shot."""
    return {(layer, sample * shots + shot, 0, row, column): decision
            for (layer, sample, shot, row, column), decision in OF_SUPPORTS[name].items()}


def of_sample(ties: Mapping[Place, bool], sample: int, first: int = 1) -> dict[Place, bool]:
    """Those of ``first`` samples from ``sample`` on, numbered anew."""
    return {(layer, index - sample, *place): decision
            for (layer, index, *place), decision in ties.items() if sample <= index < sample + first}


@contextmanager
def settled(ties: Mapping[Place, bool]) -> Iterator[None]:
    """Let every :class:`DMTNetHead` decide ties so, and check that no other decision is within rounding distance."""
    transformed, coarse_scores = DMTNetHead.transformed, dmtnet_head.coarse_scores

    def settled_transformed(self: DMTNetHead, index: int, feature: Tensor, layer: SupportLayer) -> tuple:

        def settled_scores(features: Tensor, layer: SupportLayer) -> Tensor:
            background, foreground = coarse_scores(features, layer).unbind(2)
            margins = (foreground - background).unflatten(-1, feature.shape[-2:])
            for (at, *place), decision in ties.items():
                if at == index:
                    assert margins[tuple(place)].abs() < 1e-4, f'{(at, *place)} is no tie'
                    margins[tuple(place)] = 1. if decision else -1.
            close = (margins.abs() < ROUNDING).nonzero().tolist()
            assert not close, f'layer {index}: decisions within rounding distance at {close}'
            return torch.stack((torch.zeros_like(background), margins.flatten(-2)), dim=2)

        with mock.patch.object(dmtnet_head, 'coarse_scores', settled_scores):
            return transformed(self, index, feature, layer)

    with mock.patch.object(DMTNetHead, 'transformed', settled_transformed):
        yield

"""The effect of removing a layer's evidence: the definition, and DCAMA's cheaper way."""
import functools
from typing import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.models import DCAMAHead, FeaturePyramid, MatchingHead
from mmfss.registry import MODELS

CHANNELS = [[8] * 2, [16] * 2, [16, 32, 16], [32]]
SIZES = ((12, 20), (6, 10), (3, 5), (2, 3))


def pyramid(batch: int, seed: int, sizes: Sequence[tuple[int, int]] = SIZES) -> FeaturePyramid:
    generator = torch.Generator().manual_seed(seed)
    return FeaturePyramid(
        tuple(
            tuple(torch.randn(batch, width, *size, generator=generator, dtype=torch.float64) for width in level)
            for level, size in zip(CHANNELS, sizes)))


def build_head() -> DCAMAHead:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return MODELS.build(dict(type='DCAMAHead', in_channels=CHANNELS)).double().eval()


def matched(head: MatchingHead, batch: int, shots: int) -> tuple[list[Tensor], FeaturePyramid, object]:
    query = pyramid(batch, 0)
    masks = (torch.rand(batch, shots, 48, 80, generator=torch.Generator().manual_seed(1)) > 0.5).double()
    encoding = head.encode_support(pyramid(batch * shots, 2), masks)
    return [head.aggregate(affinity, encoding) for affinity in head.match(query, encoding)], query, encoding


def region_of(batch: int, size: tuple[int, int], box: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Tensor:
    """Random pixels inside a box, given by its sides (top, left, bottom, right) as parts of the image."""
    region = torch.rand(batch, *size, generator=torch.Generator().manual_seed(4)) > 0.6
    rows, columns = torch.linspace(0, 1, size[0])[:, None], torch.linspace(0, 1, size[1])
    return region & (rows >= box[0]) & (columns >= box[1]) & (rows <= box[2]) & (columns <= box[3])


BOXES = [(0, 0, 1, 1), (0.2, 0.5, 0.5, 0.7), (0, 0.6, 0.3, 1), (0.7, 0, 1, 0.2)]


@functools.cache
@torch.no_grad()
def decoded(batch: int, shots: int) -> tuple[DCAMAHead, tuple, list[Tensor]]:
    """A head, what it decodes, and its logits: of all layers, then without each."""
    head = build_head()
    evidence, *rest = matched(head, batch, shots)
    removed = [[x * (index != layer) for index, x in enumerate(evidence)] for layer in range(len(evidence))]
    return head, (evidence, *rest), [head.decode(layers, *rest) for layers in (evidence, *removed)]


@pytest.mark.parametrize('box', BOXES)
@pytest.mark.parametrize('size', [(48, 80), (37, 50), (9, 14)])
@pytest.mark.parametrize(('batch', 'shots', 'at_a_time'), [(1, 1, 4), (1, 3, 1), (2, 2, 2)])
@torch.no_grad()
def test_equals_the_definition(batch: int, shots: int, at_a_time: int, size: tuple[int, int], box: tuple) -> None:
    head, inputs, logits = decoded(batch, shots)
    head.ablation_batch = at_a_time
    region = region_of(batch, size, box)
    assert region.flatten(1).any(1).all()
    whole, *ablated = (F.interpolate(x, size, mode='bilinear', align_corners=False)[:, 1] for x in logits)
    expected = torch.stack([
        torch.stack([(whole - without)[episode][region[episode]].mean().abs() for without in ablated])
        for episode in range(batch)
    ])
    assert (expected > 0).all() and expected.std() > 0.01 * expected.mean()
    torch.testing.assert_close(head.layer_effects(*inputs, region), expected, rtol=1e-8, atol=1e-12)
    if box == BOXES[0]:  # the definition in general decodes the whole map, whatever the region
        torch.testing.assert_close(MatchingHead.layer_effects(head, *inputs, region), expected, rtol=1e-8, atol=1e-12)


@torch.no_grad()
def test_one_pixel_in_a_corner() -> None:
    head = build_head()
    evidence, query, encoding = matched(head, 1, 1)
    for row, column in ((0, 0), (47, 79), (0, 40)):
        region = torch.zeros(1, 48, 80, dtype=torch.bool)
        region[0, row, column] = True
        expected = MatchingHead.layer_effects(head, evidence, query, encoding, region)
        torch.testing.assert_close(
            head.layer_effects(evidence, query, encoding, region), expected, rtol=1e-8, atol=1e-12)


@torch.no_grad()
def test_a_layer_without_evidence_has_no_effect() -> None:
    head = build_head()
    evidence, query, encoding = matched(head, 1, 1)
    evidence[2] = torch.zeros_like(evidence[2])
    effects = head.layer_effects(evidence, query, encoding, region_of(1, (48, 80)))
    assert effects[0, 2] == 0 and (effects[0, [0, 1, 3]] > 0).all()


@torch.no_grad()
def test_inputs_stay_as_they_are() -> None:
    head = build_head()
    evidence, query, encoding = matched(head, 2, 1)
    before = [x.clone() for x in evidence], encoding.mixed.clone()
    head.layer_effects(evidence, query, encoding, region_of(2, (48, 80)))
    assert all(map(torch.equal, evidence, before[0])) and torch.equal(encoding.mixed, before[1])


def test_a_reference_that_the_head_lacks() -> None:
    head = build_head()
    way = head.matched_way(pyramid(1, 0), head.encode_support(pyramid(1, 2), torch.ones(1, 1, 48, 80)))
    with pytest.raises(ValueError, match="'last_shot' does not exist for a DCAMAHead, which has: same_shot"):
        way.layer_effects(region_of(1, (48, 80)), 'last_shot')

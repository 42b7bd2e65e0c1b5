"""The explainer that asks a head's prototypes."""
from typing import Any

import pytest
import torch
from torch import nn

from mmfss.explainers import select_region
from mmfss.explainers.scaling import min_max
from mmfss.models import FewShotSegmentor, PrototypeReader
from mmfss.models.layers import resize_adjoint, resize_unaligned
from mmfss.registry import EXPLAINERS, MODELS
from tests.tiny.episode import draw_episode
from tests.tiny.model import TINY_MODEL, build_tiny_model

OPTIONS = dict(scale_channels=8, prototypes_per_scale=(2, 3), num_groups=(2, 2), num_iterations=4, decoder_channels=8)


def build_model(**options: Any) -> FewShotSegmentor:
    build_tiny_model()  # registers
    torch.manual_seed(0)
    model = MODELS.build({**TINY_MODEL, 'head': dict(type='FewShotScaleProtoHead', **{**OPTIONS, **options})}).eval()
    for norm in model.head.scales.norms:
        nn.init.normal_(norm.weight, 1.5, 0.3)
    if model.head.decoder is not None:
        nn.init.normal_(model.head.decoder[-1].weight, std=0.3)
    return model


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build_model()


@pytest.mark.parametrize(('ways', 'shots', 'size'), [(1, 1, None), (2, 2, None), (1, 2, (40, 56))])
def test_is_what_the_head_says(model: FewShotSegmentor, ways: int, shots: int, size: Any) -> None:
    episode = draw_episode(ways, shots, support_size=size)
    explainer = EXPLAINERS.build(dict(type='prototypes'))
    attribution = explainer.attribute(model, episode, 'ground_truth')
    assert attribution.shape == episode.masks.shape and not attribution.requires_grad
    assert not attribution[episode.masks == 0].any()
    with torch.no_grad():
        pyramid, encoding = model.encode(episode.query[None], episode.support[None], episode.masks[None])
        for way, encoded in enumerate(encoding.ways):
            reading = model.head.read(pyramid, encoded)
            pixels = (episode.target == way + 1)[None, None].float()
            weights = resize_adjoint(pixels, reading.odds.shape[-2:], align_corners=True)[0]
            maps = reading.support_maps(weights)[0, 0]
            # A cell without a pixel of the object says nothing of it.
            covered = nn.functional.adaptive_avg_pool2d(episode.masks[way], maps.shape[-2:]) > 0
            assert not maps[~covered].any() and maps[covered].any()
            enlarged = resize_unaligned(maps[None], episode.support_size)
            torch.testing.assert_close(attribution[way:way + 1], min_max(enlarged * episode.masks[way]))


def test_the_region_counts(model: FewShotSegmentor) -> None:
    episode = draw_episode(1, 2)
    explainer = EXPLAINERS.build(dict(type='prototypes'))
    halves = torch.zeros(2, *episode.query_size, dtype=torch.bool)
    halves[0, :, :32], halves[1, :, 32:] = True, True
    left, right = (explainer.attribute(model, episode, half) for half in halves)
    assert (left - right).abs().max() > 0.01


def test_parts_of_groups_are_complete(model: FewShotSegmentor) -> None:
    episode = draw_episode(1, 2)
    explainer = EXPLAINERS.build(dict(type='prototypes'))
    region = select_region('ground_truth', model, episode)
    (reading, weights), = explainer.readings(model, episode, region)
    assert float(weights.sum()) == pytest.approx(1, rel=1e-5)
    parts = reading.group_parts(weights)
    torch.testing.assert_close(parts.sum(1), (reading.prototype_maps() * weights[:, None, None]).sum((3, 4)))
    assert (parts >= 0).all() and not parts[reading.prototypes.groups == 0].any()
    sides = [parts[:, reading.prototypes.group_side == side].sum() for side in (0, 1)]
    torch.testing.assert_close(torch.stack(sides), (reading.sides * weights[:, None]).sum((0, 2, 3)))
    torch.testing.assert_close(reading.group_parts(), reading.group_parts(torch.ones_like(reading.odds)))


def test_leaves_no_trace(model: FewShotSegmentor) -> None:
    model.train()
    try:
        EXPLAINERS.build(dict(type='prototypes')).attribute(model, draw_episode(), 'all')
        assert model.head.training and not model.backbone.training
    finally:
        model.eval()


def test_asks_for_a_method_not_for_a_class() -> None:
    other = build_tiny_model()
    assert not isinstance(other.head, PrototypeReader)
    with pytest.raises(ValueError, match='a DCAMAHead has no prototypes to read.*signed_affex'):
        EXPLAINERS.build(dict(type='prototypes')).attribute(other, draw_episode(), 'ground_truth')

    class OwnHead(nn.Module):

        def read(self, query: Any, encoding: Any) -> None:
            pass

    assert isinstance(OwnHead(), PrototypeReader)

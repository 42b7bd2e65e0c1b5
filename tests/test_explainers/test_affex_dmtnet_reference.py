"""AffEx of DMTNet equals the official implementation, with an explainer that knows no method."""
import functools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mmfss.converters.published_weights import hpn_learner_to_mmfss
from mmfss.explainers.contributions import Contributions, RegionWeights, region_shares
from mmfss.models import FeaturePyramid, FewShotSegmentor
from mmfss.models.affinities import Affinity
from mmfss.models.heads import DMTNetHead
from mmfss.registry import EXPLAINERS, MODELS, register_all_modules
from mmfss.structures import Episode
from tests.references.correlations import (
    AFFEX_GAINS,
    assert_close,
    assert_masks,
    build_model,
    load,
    official_state_dict,
)
from tests.references.remembered import RememberingSegmentor, remembered
from tests.references.seeded import seeded_array, seeded_image, seeded_mask
from tests.tiny.model import TINY_MODEL

SIDE = 128
KEY = re.compile(r'(?P<kind>map|full)_(?P<variant>unmasked|masked|signed)_(?P<aggregation>fa|mean)_(?P<region>pred|gt)_'
                 r'(?P<size>full|s\d+)_c0$')
REGIONS = dict(pred='prediction', gt='ground_truth')


@pytest.fixture(scope='module')
def numbers() -> dict[str, np.ndarray]:
    return {**load('dmtnet', 'affex_1w1s_model'), **load('dmtnet', 'affex_1w1s_affex')}


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> FewShotSegmentor:
    folder: Path = tmp_path_factory.mktemp('dmtnet')
    model = build_model('dmtnet', 'resnet50', 305, folder, AFFEX_GAINS, one_shot_probabilities=True, shots='max')
    return RememberingSegmentor.of(model)


@pytest.fixture(scope='module')
def episode() -> Episode:
    name, seed = 'dmtnet_1w1s', 305
    images = torch.from_numpy(seeded_image(f'{name}/images', (1, 2, 3, SIDE, SIDE), seed)[0])
    masks = torch.from_numpy(seeded_image(f'{name}/support_field', (1, SIDE, SIDE), seed) > 0).float()
    target = torch.from_numpy(seeded_mask(f'{name}/query_mask', (1, SIDE, SIDE), seed)[0]).long()
    return Episode(images[0], images[1][None, None], masks[None], target)


@torch.no_grad()
def test_probabilities_and_affinities(model: FewShotSegmentor, episode: Episode, numbers: dict) -> None:
    query, encoding = model.encode(episode.query[None], episode.support[None], episode.masks[None])
    probabilities = model.match(query, encoding, episode.query_size)
    assert_close(probabilities, numbers['logits'], 1e-4)
    assert_masks(probabilities[0].argmax(0), numbers['R_pred'])
    affinities = list(model.head.match(query, encoding.ways[0]))
    assert len(affinities) == 13
    for layer, affinity in enumerate(affinities):
        assert_close(affinity.scores(0, 4)[0], numbers[f'affinity_rows_c0_l{layer:02d}'], 1e-4)
        torch.testing.assert_close(affinity.dense()[:, 2:4], affinity.scores(2, 4), rtol=0, atol=1e-6)


def options_of(match: re.Match) -> dict:
    return dict(
        parity=True,
        aggregation='mean' if match['aggregation'] == 'mean' else 'feature_ablation',
        explanation_size=None if match['size'] == 'full' else int(match['size'][1:]))


def test_layer_weights_and_maps(model: FewShotSegmentor, episode: Episode, numbers: dict) -> None:
    found = [(key, KEY.match(key)) for key in numbers if KEY.match(key)]
    assert len(found) >= 12
    parts = {}
    for key, match in found:
        explainer = EXPLAINERS.build(dict(type=f'{match["variant"]}_affex', **options_of(match)))
        setting = match.group('region', 'size', 'aggregation')
        if setting not in parts:
            parts[setting] = explainer.contributions(model, episode, REGIONS[match['region']])
            if match['aggregation'] == 'fa':
                effects = parts[setting].effects[0]
                assert_close(effects / effects.sum(), numbers[f'abl_{match["region"]}_{match["size"]}_c0'], 1e-3, key)
                shares = torch.cat([layer[0].flatten() for layer in parts[setting].shares])
                low = numbers[f'low_{match["region"]}_{match["size"]}_c0']
                assert_close(shares, low, 5e-4 * np.abs(low).max(), key)
        attribution = explainer.from_contributions(parts[setting], episode.masks)[0]
        if match['kind'] == 'map':
            attribution = attribution[:, ::5, ::5]
        assert_close(attribution, numbers[key].astype(np.float32), 2e-3, key)


@pytest.mark.parametrize(('key', 'variant', 'options', 'atol'), [
    ('map_unmasked_fa_pred_full_nosoftmax_c0', 'unmasked', dict(use_softmax=False), 1e-2),
    ('map_signed_fa_pred_full_dil2k5_blur7_c0', 'signed',
     dict(mask_dilation_radius=2, mask_dilation_kernel=5, mask_blur_kernel_size=7), 2e-3),
    ('map_unmasked_fa_logitsstring_s32_c0', 'unmasked', dict(explanation_size=32, region_resize='logits'), 2e-3),
])
def test_options(model: FewShotSegmentor, episode: Episode, numbers: dict, key: str, variant: str, options: dict,
                 atol: float) -> None:
    explainer = EXPLAINERS.build(dict(type=f'{variant}_affex', parity=True, **options))
    assert_close(explainer.attribute(model, episode, 'prediction')[0][:, ::5, ::5], numbers[key], atol)


def test_ablation_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option of the explainer reaches the head, whose effects `test_effects` compares with the reference."""
    register_all_modules(init_default_scope=True)
    model = MODELS.build(dict(TINY_MODEL, head=dict(type='DMTNetHead'))).eval()
    asked = []

    def layer_effects(evidence: list[Tensor], *inputs: object, **options: str) -> Tensor:
        asked.append(options)
        return torch.ones(1, len(evidence))

    monkeypatch.setattr(model.head, 'layer_effects', layer_effects)
    draw = functools.partial(torch.rand, generator=torch.Generator().manual_seed(1))
    episode = Episode(draw(3, SIDE, SIDE), draw(1, 2, 3, SIDE, SIDE), torch.ones(1, 2, SIDE, SIDE))
    for name in ('same_shot', 'last_shot'):
        EXPLAINERS.build(dict(type='unmasked_affex', ablation_reference=name)).contributions(model, episode, 'all')
    assert asked == [{}, dict(ablation_reference='last_shot')]


class DrawnAffinity(Affinity):
    """Sum of both sides of drawn correlations (1, K, 2, h, w, h', w')."""

    def __init__(self, evidence: Tensor) -> None:
        super().__init__(evidence.shape[3:5], (evidence.shape[1], *evidence.shape[5:]))
        self.rows = evidence.sum(2).flatten(2, 3).flatten(3).transpose(1, 2).flatten(2)

    def scores(self, start: int, stop: int) -> Tensor:
        return self.rows[:, start:stop]


class TestShotsOfDrawnCorrelations:
    """Two shots, no backbone: the reference compares every ablated shot with the last one."""
    NAME, SEED = 'dmtnet_corr_1w2s', 6

    @pytest.fixture(scope='class')
    @classmethod
    def expected(cls) -> dict[str, np.ndarray]:
        return load('dmtnet', 'affex_corr_1w2s_affex')

    @pytest.fixture(scope='class')
    @classmethod
    def evidence(cls) -> list[Tensor]:
        levels = []
        for level, (layers, side) in enumerate(((3, 4), (6, 8), (4, 16))):
            shape = (1, layers, *[side] * 4)
            shots = [
                torch.stack([
                    torch.from_numpy(seeded_array(f'{cls.NAME}/corr_{kind}/shot{shot}/level{level}', shape, cls.SEED))
                    for kind in ('fg', 'bg')
                ], dim=2) for shot in range(2)
            ]
            # (1, layers, shots, sides, ...)
            drawn = (0.6 * torch.stack(shots, dim=2)).clamp(min=0)
            levels += list(drawn.unbind(1))
        return levels

    @pytest.fixture(scope='class')
    @classmethod
    def head(cls) -> DMTNetHead:
        """A head that ablates each evidence once."""
        head = DMTNetHead([[512] * 4, [1024] * 6, [2048] * 3]).eval()
        official = official_state_dict('dmtnet', 'resnet50', 6, AFFEX_GAINS)
        learner = {name.removeprefix('hpn_learner.'): value for name, value in official.items()
                   if name.startswith('hpn_learner.')}
        head.learner.load_state_dict(hpn_learner_to_mmfss(learner))
        head.ablations = remembered(lambda evidence, sides: list(DMTNetHead.ablations(head, evidence, sides)))
        return head

    @torch.no_grad()
    def test_effects(self, evidence: list[Tensor], expected: dict, head: DMTNetHead) -> None:
        shots = [[x[:, shot:shot + 1] for x in evidence] for shot in range(2)]
        assert_close(head.decode(evidence, None, None)[0, :1], expected['hpn_logits_shot0_fg'], 1e-4)
        region = torch.from_numpy(expected['R_gt']).bool()[None]
        compared = 0
        for size in ('full', 's32', 's10'):
            if f'abl_gt_{size}_c0' not in expected:
                continue
            side = SIDE if size == 'full' else int(size[1:])
            pixels = torch.nn.functional.interpolate(region[None].float(), (side, side))[0].bool()
            effects = head.layer_effects(evidence, None, None, pixels, ablation_reference='last_shot')[0]
            assert_close(effects / effects.sum(), expected[f'abl_gt_{size}_c0'], 1e-3, size)
            singles = [head.layer_effects(x, None, None, pixels)[0] for x in shots]
            for shot, alone in enumerate(singles):
                assert_close(alone / alone.sum(), expected[f'abl_singleshot_gt_{size}_c0'][shot], 1e-3, size)
            both = head.layer_effects(evidence, None, None, pixels)[0]
            torch.testing.assert_close(both, sum(singles) / 2)
            compared += 1
        assert compared >= 1

    @torch.no_grad()
    def test_maps(self, evidence: list[Tensor], expected: dict, head: DMTNetHead) -> None:
        affinities = [DrawnAffinity(x) for x in evidence]
        for layer, affinity in enumerate(affinities):
            assert_close(affinity.scores(0, 2)[0], expected[f'affinity_rows_c0_l{layer:02d}'], 1e-5)
        masks = torch.from_numpy(seeded_mask(f'{self.NAME}/support_masks', (1, 2, SIDE, SIDE), self.SEED))
        truth = torch.from_numpy(expected['R_gt']).bool()[None]
        found = [(key, KEY.match(key)) for key in expected if KEY.match(key)]
        assert len(found) == 8
        for size in ('full', 's32'):
            side = SIDE if size == 'full' else int(size[1:])
            region = torch.nn.functional.interpolate(truth[None].float(), (side, side))[0].bool()
            shares = tuple(region_shares(a, RegionWeights(region, torch.float32), True, 64) for a in affinities)
            low = expected[f'low_gt_{size}_c0']
            assert_close(torch.cat([x.flatten() for x in shares]), low, 5e-4 * np.abs(low).max(), size)
            effects = head.layer_effects(evidence, None, None, region, ablation_reference='last_shot')
            for key, match in found:
                if match['size'] != size:
                    continue
                weights = effects / effects.sum() if match['aggregation'] == 'fa' else torch.full_like(effects, 1 / 13)
                parts = Contributions(shares, effects, weights, (side, side), region)
                explainer = EXPLAINERS.build(dict(type=f'{match["variant"]}_affex', **options_of(match)))
                attribution = explainer.from_contributions(parts, masks)[0, :, ::5, ::5]
                assert_close(attribution, expected[key], 2e-3, key)

    @torch.no_grad()
    def test_a_batch_of_episodes(self, evidence: list[Tensor]) -> None:
        torch.manual_seed(0)
        head = DMTNetHead([[8], [8] * 2, [8]]).eval()
        evidence = [evidence[layer] for layer in (0, 3, 4, 9)]
        other = [x.flip(-1) for x in evidence]
        region = torch.zeros(2, 32, 32, dtype=torch.bool)
        region[0, :9], region[1, :, 20:] = True, True
        together = head.layer_effects([torch.cat(pair) for pair in zip(evidence, other)], None, None, region)
        for index, alone in enumerate((evidence, other)):
            torch.testing.assert_close(
                together[index:index + 1], head.layer_effects(alone, None, None, region[index:index + 1]), rtol=1e-4,
                atol=1e-6)


def test_reader_of_features_is_not_asked_for_more() -> None:
    """The head explains from a pyramid of three levels; a fourth, finer one changes nothing."""
    torch.manual_seed(0)
    sizes, channels = (32, 16, 8, 4), ((8, ), (8, ) * 2, (12, ), (16, ))
    pyramid = FeaturePyramid(tuple(
        tuple(torch.randn(1, c, side, side) for c in level) for level, side in zip(channels, sizes)))
    masks = torch.zeros(1, 1, 128, 128)
    masks[..., 30:90, 20:100] = 1
    head = DMTNetHead(channels).eval()
    short = FeaturePyramid(pyramid.levels[1:])
    with torch.no_grad():
        assert torch.equal(head(pyramid, head.encode_support(pyramid, masks)),
                           head(short, head.encode_support(short, masks)))

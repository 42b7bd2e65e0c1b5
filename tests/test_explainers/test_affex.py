"""AffEx: equal to its definition, right where the truth is planted, frugal, and clear about what it cannot do."""
import functools
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

import pytest
import torch
from torch import Tensor

from mmfss.explainers import EmptyRegionError
from mmfss.models import FeaturePyramid, FewShotHead, FewShotSegmentor
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from tests.references.seeded import seeded_image, seeded_mask
from tests.tiny.colour_matching import BLUE, GREEN, RED, ColourSegmentor, episode_of, share, square
from tests.tiny.largest_tensor import LargestTensor
from tests.tiny.model import build_tiny_model

VARIANTS = ('unmasked', 'masked', 'signed', 'reverse_signed', 'smoothed')


def build(variant: str = 'unmasked', **options) -> Any:
    return EXPLAINERS.build(dict(type=f'{variant}_affex', **options))


def draw_episode(ways: int = 1, shots: int = 1, size: tuple[int, int] = (64, 64),
                 support_size: Optional[tuple[int, int]] = None, name: str = 'a',
                 dtype: torch.dtype = torch.float32) -> Episode:
    support_size = support_size or size
    target = sum(seeded_mask(f'{name}/target{way}', size) * (way + 1) for way in range(ways))
    return Episode(
        torch.from_numpy(seeded_image(f'{name}/query', (3, *size))).to(dtype),
        torch.from_numpy(seeded_image(f'{name}/support', (ways, shots, 3, *support_size))).to(dtype),
        torch.from_numpy(seeded_mask(f'{name}/masks', (ways, shots, *support_size))).to(dtype),
        torch.from_numpy(target).long().clamp(max=ways))


def sharpened(model: FewShotSegmentor, factor: float = 12.) -> FewShotSegmentor:
    """A model whose attention is not flat."""
    for block in model.head.attention:
        block.query.weight.data *= factor
        block.key.weight.data *= factor
    return model


@pytest.fixture(scope='module')
def exact_model() -> FewShotSegmentor:
    return sharpened(build_tiny_model().double())


@pytest.fixture(scope='module')
def colours() -> FewShotSegmentor:
    return ColourSegmentor.build()


@pytest.fixture(scope='module')
def explicit() -> ModuleType:
    path = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'explicit_affex.py'
    spec = importlib.util.spec_from_file_location('explicit_affex', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def explicit_maps(explicit: ModuleType, model: FewShotSegmentor, episode: Episode, regions: Tensor) -> Tensor:
    """Unmasked maps (N, K, H, W) by the definition, one class after the other."""
    maps = []
    for images, masks, region in zip(episode.support, episode.masks, regions):
        query, encoding = model.encode(episode.query[None], images[None, None], masks[None, None])
        way = encoding.ways[0]
        affinities = list(model.head.match(query, way))
        contributions = [
            explicit.layer_contribution(x.dense()[0], x.query_size, x.support_size, region, episode.support_size)
            for x in affinities
        ]
        evidence = [model.head.aggregate(affinity, way) for affinity in affinities]
        decode = functools.partial(model.head.decode, query=query, encoding=way)
        effects = explicit.layer_effects(decode, evidence, region)
        maps.append(explicit.unmasked_map(contributions, effects / effects.sum()))
    return torch.stack(maps)


class NoAffinities(FewShotHead):
    """Says the same of every query."""

    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> None:
        return None

    def forward(self, query: FeaturePyramid, encoding: None) -> Tensor:
        return query[0][-1][:, :2]


class TestDefinition:

    @pytest.mark.parametrize(('ways', 'shots', 'size', 'support_size'), [
        (1, 1, (48, 48), None),
        (1, 3, (32, 64), None),
        (2, 3, (64, 48), None),
        (2, 1, (48, 64), (32, 40)),
    ])
    def test_streamed_equals_dense(self, exact_model: FewShotSegmentor, explicit: ModuleType, ways: int, shots: int,
                                   size: tuple, support_size: Optional[tuple]) -> None:
        episode = draw_episode(ways, shots, size, support_size, dtype=torch.float64)
        regions = torch.stack([episode.target == way + 1 for way in range(ways)])
        expected = explicit_maps(explicit, exact_model, episode, regions)
        # The chunk divides no layer's number of positions.
        ours = build(chunk_size=7).attribute(exact_model, episode, 'ground_truth')
        assert ours.dtype == torch.float64 and expected.std() > 0.05
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)

    def test_of_any_head(self, colours: FewShotSegmentor, explicit: ModuleType) -> None:
        episode = draw_episode(1, 2, (48, 64), dtype=torch.float64)
        region = episode.target[None] == 1
        expected = explicit_maps(explicit, colours, episode, region)
        torch.testing.assert_close(build().attribute(colours, episode, region), expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize('variant', VARIANTS)
    def test_a_batch_equals_its_episodes(self, exact_model: FewShotSegmentor, variant: str) -> None:
        episodes = [draw_episode(2, 2, (64, 48), name=name, dtype=torch.float64) for name in 'ab']
        regions = ['ground_truth', seeded_region((64, 48))]
        explainer = build(variant)
        maps = explainer.attribute_batch(exact_model, episodes, regions)
        assert maps.shape == (2, 2, 2, 64, 48)
        for index, pair in enumerate(zip(episodes, regions)):
            alone = explainer.attribute(exact_model, *pair)
            torch.testing.assert_close(maps[index], alone, rtol=0, atol=1e-9)
            assert alone.amin((1, 2, 3)).tolist() == [0, 0] and alone.amax((1, 2, 3)).tolist() == [1, 1]

    def test_signs(self, exact_model: FewShotSegmentor) -> None:
        episode = draw_episode(1, 2, dtype=torch.float64)
        options = dict(mask_blur_kernel_size=1)
        maps = {v: build(v, **options).attribute(exact_model, episode, 'ground_truth')[0] for v in VARIANTS}
        inside = episode.masks[0] == 1
        assert (maps['masked'][~inside] == 0).all()
        torch.testing.assert_close(maps['signed'], 1 - maps['reverse_signed'])
        torch.testing.assert_close(maps['smoothed'], maps['unmasked'])
        # Zero contribution is at one level; the object is above it, the background below.
        signed, x = maps['signed'], maps['unmasked']
        level = signed[x == 0][0]
        assert (signed[inside] >= level).all() and (signed[~inside] <= level).all()

    def test_level_of_no_contribution(self, exact_model: FewShotSegmentor) -> None:
        """Above it the map is for the region, below it against it."""
        episode = draw_episode(ways=2, shots=2, dtype=torch.float64)
        explained = {name: build(name, mask_blur_kernel_size=1).explain(exact_model, episode, 'all')
                     for name in ('unmasked', 'masked', 'signed', 'reverse_signed')}
        assert explained['unmasked'].neutral is None and explained['masked'].neutral is None
        for name, sign in (('signed', 1), ('reverse_signed', -1)):
            from_zero = explained[name].attribution - explained[name].neutral[:, None, None, None]
            unscaled = sign * explained['unmasked'].attribution * (2 * episode.masks - 1)
            factor = (from_zero * unscaled).sum((1, 2, 3)) / unscaled.square().sum((1, 2, 3))
            assert (factor > 0).all() and torch.allclose(from_zero, factor[:, None, None, None] * unscaled)

    def test_own_region_and_that_of_class_one(self, exact_model: FewShotSegmentor) -> None:
        episode = draw_episode(2, 1, dtype=torch.float64)
        own = build().attribute(exact_model, episode, 'ground_truth')
        first = build(region_class='first').attribute(exact_model, episode, 'ground_truth')
        torch.testing.assert_close(first, build().attribute(exact_model, episode, episode.target == 1))
        torch.testing.assert_close(first[0], own[0])
        assert (first[1] - own[1]).abs().max() > 0.05

    def test_masks_at_the_explanation_size(self, exact_model: FewShotSegmentor) -> None:
        episode = draw_episode(dtype=torch.float64)
        options = dict(explanation_size=(8, 16), mask_blur_kernel_size=1)
        full, reduced = (build('masked', mask_resize=kind, **options).attribute(exact_model, episode, 'all') for kind in
                         ('full', 'reference'))
        assert ((full > 0) <= (episode.masks > 0)).all()
        blocks = (reduced > 0).unfold(2, 8, 8).unfold(3, 4, 4).flatten(-2)
        # A mask of 8 x 16 cells: in the interior of the map a cell is all in or all out.
        assert (blocks.all(-1) | ~blocks.any(-1)).all() and not torch.equal(full > 0, reduced > 0)


class TestTruth:
    """Episodes of which one can say what the segmentation was made of."""

    def test_the_one_right_support(self, colours: FewShotSegmentor) -> None:
        supports = [square(colour, seed=2 + i) for i, colour in enumerate((GREEN, RED, BLUE))]
        episode = episode_of(square(RED, seed=1), supports)
        parts = build().contributions(colours, episode)
        # The rest is background next to the border of the region, where positions are coarser than pixels.
        assert parts.shots[0, 1] > 0.7 and parts.layer_shots[0, 0, 1] > 0.74
        for variant in ('unmasked', 'masked', 'signed'):
            # What lies above the level of "no contribution"; the right object covers a twelfth of the pixels.
            attribution = build(variant).attribute(colours, episode)[0]
            evidence = (attribution - attribution.median()).clamp(min=0)
            assert share(evidence, [None, episode.masks[0, 1], None]) > 0.9, variant
        noise = EXPLAINERS.build(dict(type='random')).attribute(colours, episode)[0]
        assert share(noise, [None, episode.masks[0, 1], None]) < 0.1

    def test_the_right_part_of_a_support(self, colours: FewShotSegmentor) -> None:
        image, mask = square(RED, box=(16, 8, 48, 32), seed=2)
        other, rest = square(BLUE, box=(16, 32, 48, 56), seed=3)
        support = torch.where(rest.bool(), other, image), (mask + rest).clamp(max=1)
        episode = episode_of(square(RED, seed=1), [support])
        attribution = build('masked').attribute(colours, episode)[0]
        assert share(attribution, [mask]) > 0.85
        noise = EXPLAINERS.build(dict(type='random')).attribute(colours, episode)[0] * support[1]
        assert 0.4 < share(noise, [mask]) < 0.6

    @pytest.mark.parametrize('seed', [0, 1, 2])
    def test_by_attention(self, seed: int) -> None:
        """As the first, by DCAMA: before training, it projects query and supports alike."""
        model = sharpened(build_tiny_model(seed), 100.)
        supports = [square(colour, seed=2 + i) for i, colour in enumerate((GREEN, RED, BLUE))]
        episode = episode_of(square(RED, seed=1), supports)
        explanation = build('masked').explain(model, episode, 'ground_truth')
        assert explanation.contributions.shots[0].argmax() == 1
        right = [None, torch.ones(64, 64), None]
        assert share(explanation.attribution[0], right) > 0.5
        noise = EXPLAINERS.build(dict(type='random')).attribute(model, episode, 'ground_truth')[0]
        assert 0.3 < share(noise * episode.masks[0], right) < 0.37

    def test_the_layer_that_carried_it(self, colours: FewShotSegmentor) -> None:
        # The object covers half a cell of 8 pixels: only the finer level sees its colour.
        box = dict(box=(4, 4, 8, 8), size=(32, 32))
        episode = episode_of(square(RED, seed=1, **box), [square(RED, seed=2, **box)])
        parts = build().contributions(colours, episode, episode.target == 1)
        assert parts.weights[0, 0] > 2 * parts.weights[0, 1]


class TestContributions:

    def test_one_pass_serves_region_explanation_and_diagnosis(self, exact_model: FewShotSegmentor) -> None:
        episode, calls = draw_episode(1, 2, dtype=torch.float64), []
        handle = exact_model.backbone.register_forward_hook(lambda *_: calls.append(1))
        try:
            explanation = build('signed').explain(exact_model, episode, 'all')
        finally:
            handle.remove()
        assert len(calls) == 1
        parts = explanation.contributions
        torch.testing.assert_close(
            build('signed').from_contributions(parts, episode.masks), explanation.attribution, rtol=0, atol=0)

    def test_prediction_is_the_models(self, colours: FewShotSegmentor) -> None:
        episode = episode_of(square(RED, seed=1), [square(RED, seed=2)])
        calls: list = []
        original = colours.extract_feat
        colours.extract_feat = lambda inputs: calls.append(len(inputs)) or original(inputs)
        try:
            parts = build().contributions(colours, episode)
        finally:
            del colours.extract_feat
        assert calls == [2]
        with torch.no_grad():
            logits = colours.logits(episode.query[None], episode.support[None], episode.masks[None])
        assert torch.equal(parts.region, logits.argmax(1) == 1)

    def test_sums_and_summary(self, exact_model: FewShotSegmentor) -> None:
        episode = draw_episode(2, 3, (64, 48), dtype=torch.float64)
        parts = build().contributions(exact_model, episode, 'ground_truth')
        layers = len(parts.shares)
        assert parts.weights.shape == parts.effects.shape == (2, layers)
        torch.testing.assert_close(parts.weights.sum(1), torch.ones(2, dtype=torch.float64))
        torch.testing.assert_close(parts.combined().sum((2, 3)), parts.shots)
        torch.testing.assert_close(parts.shots.sum(1), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-3)
        by_layer = [parts.layer_map(layer) for layer in range(layers)]
        torch.testing.assert_close(torch.stack([maps.sum((2, 3)) for maps in by_layer], dim=1), parts.layer_shots)
        weighted = sum(parts.weights[:, layer, None, None, None] * maps for layer, maps in enumerate(by_layer))
        torch.testing.assert_close(parts.combined(), weighted)
        summary = json.loads(json.dumps(parts.summary()))
        assert summary['shots'] == parts.shots.tolist() and summary['layers'] == parts.weights.tolist()
        assert summary['layer_sizes'][0] == [8, 6] and len(summary['layer_sizes']) == layers

    def test_mean_needs_no_ablation(self, exact_model: FewShotSegmentor, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: Any) -> None:
            raise AssertionError('decoded')
        monkeypatch.setattr(exact_model.head, 'decode', fail)
        monkeypatch.setattr(exact_model.head, 'layer_effects', fail)
        monkeypatch.setattr(exact_model.head, 'aggregate', fail)
        parts = build(aggregation='mean').contributions(exact_model, draw_episode(dtype=torch.float64), 'all')
        assert parts.effects is None and parts.weights.unique().numel() == 1

    def test_constant_maps_are_zero(self) -> None:
        model = ColourSegmentor.build(sharpness=0.)
        episode = episode_of(square(RED), [square(RED), square(BLUE)])
        for variant in VARIANTS:
            explanation = build(variant).explain(model, episode, 'all')
            assert (explanation.attribution == 0).all(), variant
            torch.testing.assert_close(explanation.contributions.shots, torch.tensor([[0.5, 0.5]]), rtol=0, atol=1e-3)


class TestFrugality:

    def test_no_matrix_of_query_and_support(self) -> None:
        model = build_tiny_model()
        model.head.ablation_batch = 1
        episode = draw_episode(1, 5, (256, 256))
        with LargestTensor() as seen:
            parts = build('signed').explain(model, episode, 'all').contributions
        query, support = 32 * 32, 5 * 32 * 32
        assert parts.shares[0].shape == (1, 5, 32, 32)
        assert seen.largest < query * support / 2
        with LargestTensor() as seen, torch.no_grad():
            pyramid, encoding = model.encode(episode.query[None], episode.support[None], episode.masks[None])
            next(iter(model.head.match(pyramid, encoding.ways[0]))).dense()
        assert seen.largest >= query * support

    @pytest.mark.parametrize('mode', [True, False])
    def test_leaves_no_trace(self, mode: bool) -> None:
        model, episode = build_tiny_model(), draw_episode(1, 2)
        model.train(mode)
        modes = [module.training for module in model.modules()]
        wanted = [parameter.requires_grad for parameter in model.parameters()]
        before = {name: value.clone() for name, value in model.state_dict().items()}
        inputs = [x.clone() for x in (episode.query, episode.support, episode.masks)]
        state = torch.get_rng_state()
        attribution = build('signed').attribute(model, episode, 'ground_truth')
        assert not attribution.requires_grad and torch.is_grad_enabled()
        assert torch.equal(state, torch.get_rng_state())
        assert modes == [module.training for module in model.modules()]
        assert wanted == [parameter.requires_grad for parameter in model.parameters()]
        assert all(parameter.grad is None for parameter in model.parameters())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(map(torch.equal, inputs, (episode.query, episode.support, episode.masks)))
        assert not any(hooks for module in model.modules() for hooks in (module._forward_hooks,
                                                                         module._forward_pre_hooks))

    def test_bfloat16_is_close(self) -> None:
        model, episode = build_tiny_model(), draw_episode(1, 2)
        exact = build().attribute(model, episode, 'ground_truth')
        with torch.autocast('cpu', torch.bfloat16):
            rough = build().attribute(model, episode, 'ground_truth')
        assert rough.dtype == torch.float32
        assert torch.corrcoef(torch.stack((exact.flatten(), rough.flatten())))[0, 1] > 0.9


class TestErrors:

    def test_empty_region(self, exact_model: FewShotSegmentor) -> None:
        episode = draw_episode(2, 1, dtype=torch.float64)
        regions = torch.zeros(2, 64, 64)
        regions[0, :8] = 1
        with pytest.raises(EmptyRegionError, match='class 2 has no pixel'):
            build().attribute(exact_model, episode, regions)

    def test_nothing_predicted(self, colours: FewShotSegmentor) -> None:
        episode = episode_of(square(BLUE), [square(RED)])
        with pytest.raises(EmptyRegionError, match='"prediction" of class 1'):
            build().attribute(colours, episode)

    def test_region_lost_in_a_small_explanation(self, exact_model: FewShotSegmentor) -> None:
        region = torch.zeros(64, 64)
        region[3, 3] = 1
        with pytest.raises(EmptyRegionError, match=r'explanation_size=\(4, 4\)'):
            build(explanation_size=4).attribute(exact_model, draw_episode(dtype=torch.float64), region)

    def test_empty_mask(self, colours: FewShotSegmentor) -> None:
        image, mask = square(RED)
        episode = episode_of((image, mask), [(image, mask), (image, mask * 0)])
        with pytest.raises(ValueError, match='Support 2 of class 1 has an empty mask'):
            build().attribute(colours, episode)

    def test_head_that_does_not_match(self) -> None:
        model = build_tiny_model()
        model.head = NoAffinities(model.head.in_channels)
        with pytest.raises(ValueError, match='AffEx reads the affinities of a MatchingHead, .* NoAffinities'):
            build('signed').attribute(model, draw_episode())

    def test_batches_of_unequal_parts(self, exact_model: FewShotSegmentor) -> None:
        episodes = [draw_episode(size=size, dtype=torch.float64) for size in ((64, 64), (64, 48))]
        with pytest.raises(ValueError, match='equal sizes'):
            build().attribute_batch(exact_model, episodes, 'ground_truth')
        with pytest.raises(ValueError, match='1 regions were given for 2 episodes'):
            build().attribute_batch(exact_model, episodes, ['all'])

    def test_blur_larger_than_the_image(self, colours: FewShotSegmentor) -> None:
        picture = square(RED, (16, 24), (4, 4, 12, 12))
        with pytest.raises(ValueError, match='16 x 24 pixels are too small for mask_blur_kernel_size=33'):
            build('masked', mask_blur_kernel_size=33).attribute(colours, episode_of(picture, [picture]), 'all')

    @pytest.mark.parametrize(('options', 'message'), [
        (dict(aggregation='median'), "aggregation must be one of feature_ablation, mean, got 'median'"),
        (dict(layer_order='deep'), 'layer_order must be one of aligned, reference'),
        (dict(region_class='second'), 'region_class must be one of own, first'),
        (dict(mask_resize='none'), 'mask_resize must be one of'),
        (dict(region_resize='none'), 'region_resize must be one of'),
        (dict(ablation_reference='first'), 'ablation_reference must be one of same_shot, last_shot'),
        (dict(explanation_size=0), 'explanation_size must be None'),
        (dict(explanation_size=(3, 4, 5)), 'explanation_size must be None'),
        (dict(mask_blur_kernel_size=30), 'mask_blur_kernel_size must be odd'),
        (dict(mask_blur_sigma=0), 'mask_blur_sigma must be above 0'),
        (dict(mask_dilation_radius=2), 'needs a mask_dilation_kernel'),
        (dict(mask_dilation_radius=2, mask_dilation_kernel=4), 'mask_dilation_kernel must be odd'),
        (dict(chunk_size=0), 'chunk_size at least 1'),
    ])
    def test_options(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            build(**options)


def seeded_region(size: tuple[int, int]) -> Tensor:
    return torch.from_numpy(seeded_mask('region', size)) > 0

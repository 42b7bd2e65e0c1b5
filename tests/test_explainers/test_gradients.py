"""Methods that differentiate, against what they are defined by."""
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from mmfss.explainers import ClassScore, EncodedEpisode
from mmfss.explainers.blur_ig import blur
from mmfss.explainers.class_score import input_gradient
from mmfss.explainers.deep_lift import called_once
from mmfss.explainers.gradient_shap import GradientShap, paint_over
from mmfss.explainers.guided_ig import guided_path
from mmfss.explainers.seeding import episode_generator
from mmfss.models import FewShotSegmentor
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from tests.tiny.episode import draw_episode
from tests.tiny.model import build_tiny_model


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build_tiny_model().requires_grad_(False)


def score_of(model: FewShotSegmentor, episode: Episode, way: int = 0, probability: bool = False) -> ClassScore:
    return ClassScore(EncodedEpisode(model, episode), way, episode.target == way + 1, probability)


def raw(name: str, model: FewShotSegmentor, episode: Episode, **options) -> Tensor:
    explainer = EXPLAINERS.build(dict(type=name, scaling=None, **options))
    return explainer.attribute(model, episode, 'ground_truth')


class TestClassScore:

    @pytest.mark.parametrize('probability', [False, True])
    @pytest.mark.parametrize('way', [0, 1])
    @torch.no_grad()
    def test_is_the_mean_over_the_region(self, model: FewShotSegmentor, way: int, probability: bool) -> None:
        episode = draw_episode(2, 2, support_size=(40, 56))
        score = score_of(model, episode, way, probability)
        logits = model.logits(episode.query[None], episode.support[None], episode.masks[None])
        values = (logits.softmax(1) if probability else logits)[0, way + 1]
        assert score(score.support).item() == pytest.approx(values[episode.target == way + 1].mean().item(), abs=1e-5)

    @torch.no_grad()
    def test_versions_equal_fresh_episodes(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(2, 3)
        score = score_of(model, episode, 1, probability=True)
        support, masks = score.support.repeat(3, 1, 1, 1, 1), score.masks.repeat(3, 1, 1, 1)
        support[1, 2] += 0.5
        masks[2, 0] = 1 - masks[2, 0]
        for value, images, mask in zip(score(support, masks), support, masks):
            fresh = Episode(episode.query, torch.stack((episode.support[0], images)),
                            torch.stack((episode.masks[0], mask)), episode.target)
            assert value.item() == pytest.approx(
                score_of(model, fresh, 1, True)(images[None], mask[None]).item(), abs=1e-5)

    @torch.no_grad()
    def test_encodes_only_what_changed(self, model: FewShotSegmentor, monkeypatch: pytest.MonkeyPatch) -> None:
        episode = draw_episode(1, 3)
        score = score_of(model, episode)
        sizes = []
        extract = model.extract_feat
        monkeypatch.setattr(model, 'extract_feat', lambda images: sizes.append(len(images)) or extract(images))
        support = score.support.repeat(4, 1, 1, 1, 1)
        support[1, 0] = 0
        support[3] = 0
        score(support)
        # Four of twelve images differ; the query and the originals are encoded once.
        assert sorted(sizes) == [1, 3, 4]
        score(score.support, 1 - score.masks)
        assert sorted(sizes) == [1, 3, 4]

    @torch.no_grad()
    def test_some_shots(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(1, 3)
        shots = torch.tensor([True, False, True])
        part = score_of(model, episode).select(shots)
        fewer = Episode(episode.query, episode.support[:, shots], episode.masks[:, shots], episode.target)
        expected = score_of(model, fewer)(fewer.support)
        torch.testing.assert_close(part(part.support), expected)
        first = Episode(episode.query, episode.support[:, :1], episode.masks[:, :1], episode.target)
        changed = episode.support[:, :1] + 0.1
        torch.testing.assert_close(part.select(shots[:2])(changed), score_of(model, first)(changed))


class TestIntegratedGradients:

    @pytest.mark.parametrize(('query', 'masks'), [(False, False), (True, False)])
    def test_sums_to_the_difference(self, model: FewShotSegmentor, query: bool, masks: bool) -> None:
        """Complete when only the supports move; the moving query takes a part otherwise."""
        episode = draw_episode(1, 2)
        maps = raw('integrated_gradients', model, episode, n_steps=60, internal_batch_size=10, perturb_query=query,
                   perturb_masks=masks)
        score = score_of(model, episode)
        with torch.no_grad():
            difference = (score(score.support) - score(torch.zeros_like(score.support))).item()
        complete = 3 * maps.sum().item() == pytest.approx(difference, rel=0.03)
        assert complete != query

    def test_is_the_literal_sum(self, model: FewShotSegmentor) -> None:
        """Gradients at points of the path on which query and masks move as well."""
        episode = draw_episode()
        score = score_of(model, episode)
        total = 0
        for share in (1 / 8, 3 / 8, 5 / 8, 7 / 8):
            support = (score.support * share).requires_grad_()
            value = model.logits(score.query * share, support[:, None], score.masks[:, None] * share)[0, 1]
            total = total + 0.25 * torch.autograd.grad(value[score.region].mean(), support)[0]
        maps = raw('integrated_gradients', model, episode, n_steps=4, method='riemann_middle')
        torch.testing.assert_close(maps, (total * score.support).mean(2), rtol=1e-4, atol=1e-7)

    def test_batches_of_points(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(2, 2)
        one, many = (raw('integrated_gradients', model, episode, n_steps=5, internal_batch_size=b) for b in (1, 5))
        torch.testing.assert_close(one, many, rtol=1e-3, atol=1e-7)


def test_saliency_is_the_absolute_gradient(model: FewShotSegmentor) -> None:
    episode = draw_episode(1, 2)
    gradient, of_query = input_gradient(score_of(model, episode), episode.support)
    torch.testing.assert_close(raw('saliency', model, episode), gradient.abs().mean(2))
    assert not of_query.any()


class Residual(nn.Module):
    """One ReLU, called three times; its last input has another reader, as in a backbone that is tapped there."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.linear(x))
        tap = self.linear(self.relu(self.linear(x))) + x
        return (tap + self.relu(tap.clone())).sum(1)


class Wrapped(nn.Module):

    def __init__(self, rescaled: nn.Module) -> None:
        super().__init__()
        self.rescaled = rescaled

    def forward(self, x: Tensor) -> Tensor:
        return self.rescaled(x)


class TestDeepLift:

    @pytest.mark.filterwarnings('ignore:Setting forward, backward hooks')
    def test_contributions_of_a_reused_activation_sum_to_the_difference(self) -> None:
        from captum.attr import DeepLift
        torch.manual_seed(0)
        module, x = Wrapped(Residual().double()), torch.randn(1, 4, dtype=torch.float64)
        relu = module.rescaled.relu
        with called_once(module, x):
            assert len(module.rescaled.relu.copies) == 3
            contributions = DeepLift(module).attribute(x.clone().requires_grad_())
        assert module.rescaled.relu is relu
        difference = module(x) - module(torch.zeros_like(x))
        assert contributions.sum().item() == pytest.approx(difference.item())

    def test_modules_return_after_an_error(self) -> None:
        module = Wrapped(Residual())
        relu = module.rescaled.relu
        with pytest.raises(RuntimeError, match='stop'), called_once(module, torch.zeros(1, 4)):
            raise RuntimeError('stop')
        assert module.rescaled.relu is relu

    def test_scopes_differ(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(1, 3)
        everywhere, head = (raw('deep_lift', model, episode, scope=scope) for scope in ('model', 'head'))
        assert everywhere.abs().amin((0, 2, 3)).shape == (3, )
        assert not torch.allclose(everywhere, head)


class TestGradCAM:

    def test_is_its_formula(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(1, 2)
        score = score_of(model, episode)
        feature = score.features[1][-1].clone().requires_grad_()
        levels = [list(level) for level in score.features]
        levels[1] = [*levels[1][:-1], feature]
        value = score.of_features(type(score.features)(tuple(map(tuple, levels))), score.masks)
        weights = torch.autograd.grad(value, feature)[0].mean((2, 3), keepdim=True)
        only = (weights * feature).sum(1)
        rest = levels[1][0].clone().requires_grad_()
        levels[1] = [rest, *levels[1][1:]]
        value = score.of_features(type(score.features)(tuple(map(tuple, levels))), score.masks)
        other = (torch.autograd.grad(value, rest)[0].mean((2, 3), keepdim=True) * rest).sum(1)
        expected = nn.functional.interpolate((only + other).relu()[:, None], (48, 64), mode='bilinear')[:, 0]
        torch.testing.assert_close(raw('grad_cam', model, episode, level=1)[0], expected.detach())

    def test_named_layer(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(2, 2)
        maps = raw('grad_cam', model, episode, layer='backbone.layer3.0')
        assert maps.shape == episode.masks.shape and (maps >= 0).all() and maps.any()

    @pytest.mark.parametrize(('options', 'message'), [
        (dict(level=4), 'no level 4, the feature pyramid has 4'),
        (dict(layer='backbone.layer9'), 'no module "backbone.layer9"'),
        (dict(layer='head.mixer3'), 'head.mixer3'),
    ])
    def test_errors(self, model: FewShotSegmentor, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            raw('grad_cam', model, draw_episode(1, 2), **options)


class TestGuidedPath:

    def test_linear_function(self) -> None:
        weights, end = torch.tensor([3., -1., 0., 2.]), torch.tensor([1., -2., 5., 0.])
        for options in (dict(fraction=0.5, max_dist=1.), dict(fraction=0.25, max_dist=0.2)):
            attribution = guided_path(lambda x: weights, end, torch.zeros(4), steps=7, **options)
            torch.testing.assert_close(attribution, weights * end)

    def test_small_gradients_move_first(self) -> None:
        visited = []

        def gradient(x: Tensor) -> Tensor:
            visited.append(x.clone())
            return torch.tensor([5., 1., 9., 3.])

        guided_path(gradient, torch.ones(4), torch.zeros(4), steps=4, fraction=0.25, max_dist=1.)
        expected = torch.tensor([[0., 0., 0., 0.], [0., 1., 0., 0.], [0., 1., 0., 1.], [1., 1., 0., 1.]])
        torch.testing.assert_close(torch.stack(visited), expected)

    def test_no_deviation_is_the_straight_path(self) -> None:
        visited = []
        end = torch.tensor([1., -2., 4.])
        guided_path(lambda x: visited.append(x.clone()) or x, end, torch.zeros(3), steps=4, fraction=0.5, max_dist=0.)
        torch.testing.assert_close(torch.stack(visited), torch.linspace(0, 0.75, 4)[:, None] * end)

    def test_equal_ends(self) -> None:
        assert not guided_path(torch.ones_like, torch.ones(3), torch.ones(3), 3, 0.5, 1.).any()


class TestBlur:

    @pytest.mark.parametrize('sigma', [0., 0.01, 0.7, 6., 50.])
    @pytest.mark.parametrize(('dims', 'sigmas'), [((-2, -1), (0, 1, 1)), ((-3, -2), (1, 1, 0))])
    def test_equals_scipy(self, dims: tuple[int, int], sigmas: tuple[int, ...], sigma: float) -> None:
        image = torch.randn(3, 20, 33, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        expected = ndimage.gaussian_filter(image.numpy(), [s * sigma for s in sigmas], mode='constant')
        np.testing.assert_allclose(blur(image, sigma, dims).numpy(), expected, atol=1e-12)

    def test_impulse_spreads_over_rows_and_columns_of_its_channel(self, model: FewShotSegmentor) -> None:
        image = torch.zeros(1, 3, 15, 15)
        image[0, 1, 7, 7] = 1
        for axes, spread in (('image', (False, True, True)), ('reference', (True, True, False))):
            blurred = blur(image, 1.5, EXPLAINERS.build(dict(type='blur_ig', axes=axes)).dims)[0]
            places = (blurred > 0).nonzero()
            assert tuple((places.amin(0) < places.amax(0)).tolist()) == spread

    def test_is_the_literal_sum(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(1, 2)
        score = score_of(model, episode, probability=True)

        def blurred(x: Tensor, sigma: float) -> Tensor:
            return torch.from_numpy(ndimage.gaussian_filter(
                x.double().numpy(), [0] * (x.ndim - 2) + [sigma] * 2, mode='constant'))

        total = 0
        for sigma in (0., 2., 4.):
            images, query = blurred(score.support, sigma).float(), blurred(score.query, sigma).float()
            slope = (blurred(score.support, sigma + 0.1) - blurred(score.support, sigma)) / 0.1
            total = total - 2 * slope * input_gradient(score, images, query)[0]
        for batch in (1, 2):
            maps = raw('blur_ig', model, episode, max_sigma=6, steps=3, grad_step=0.1, internal_batch_size=batch)
            torch.testing.assert_close(maps, total.abs().mean(2).float(), rtol=1e-3, atol=1e-8)


class TestGradientShap:

    def test_baselines(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(2, 2)
        score = score_of(model, episode, way=1)
        draw = episode_generator(episode, 0)
        for kind in ('both_masked', 'support_masked', 'query_masked', 'support_swapped', 'zeroed'):
            explainer = GradientShap(n_baselines=30, kinds={kind: 1.}, mask_dropout=0.5)
            support, masks, query = explainer.baselines(score, draw)
            assert support.shape == (30, 2, 3, 48, 64) and masks.shape == (30, 2, 48, 64)
            assert query.shape == (30, 3, 48, 64)
            assert torch.equal(query, score.query.expand_as(query)) == (kind in ('support_masked', 'support_swapped'))
            assert torch.equal(support, score.support.expand_as(support)) == (kind == 'query_masked')
            dropped = ~masks.flatten(2).any(-1)
            assert dropped.all() if kind == 'zeroed' else 0.25 < dropped.float().mean() < 0.75
        explainer = GradientShap(n_baselines=30, kinds=dict(support_swapped=1.))
        images = explainer.baselines(score, draw)[0].flatten(0, 1)
        pool = episode.support.flatten(0, 1)
        origin = (images[:, None] == pool).flatten(2).all(-1).long().argmax(1).unflatten(0, (30, 2))
        assert not (origin == torch.tensor([2, 3])).any()
        assert set(origin.flatten().tolist()) == {0, 1, 2, 3}

    def test_painted_over_with_the_mean_of_the_rest(self) -> None:
        image = torch.zeros(2, 3, 9, 9)
        image[0, :, :, :4] = 2.
        image[0, :, 4, 4] = 100.
        objects = torch.zeros(2, 9, 9, dtype=torch.bool)
        objects[0, 4, 4] = True
        objects[1] = True
        painted = paint_over(image, objects, dilation=1)
        assert painted[0, 0, 4, 4] == pytest.approx(2 * 33 / 72)
        assert painted[0, 0, 3, 3] == painted[0, 0, 4, 4]
        assert painted[0, 0, 0, 0] == 2
        assert torch.equal(painted[1], torch.zeros(3, 9, 9))

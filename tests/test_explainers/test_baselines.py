"""What every baseline must do: shapes, finite values, no trace, the same map for the same seed, and some sense."""
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from mmfss.models import FeaturePyramid, FewShotSegmentor
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from tests.tiny.colour_matching import BLUE, GREEN, RED, ColourHead, ColourSegmentor, episode_of, square
from tests.tiny.episode import draw_episode
from tests.tiny.model import build_tiny_model

pytestmark = pytest.mark.usefixtures('small_segments')
# Options that make a method cheap.
CHEAP = dict(
    random={},
    gaussian_noise={},
    saliency={},
    integrated_gradients=dict(n_steps=2),
    gradient_shap=dict(n_baselines=3),
    deep_lift={},
    grad_cam={},
    feature_ablation=dict(n_segments=40),
    occlusion=dict(sliding_window=24),
    lime=dict(n_samples=8, n_segments=40, alpha=1e-6),
    guided_ig=dict(x_steps=2),
    blur_ig=dict(steps=2),
    xrai=dict(n_steps=2))
MODEL_BASED = [name for name in CHEAP if name not in ('random', 'gaussian_noise')]
SEEDED = ('random', 'gaussian_noise', 'gradient_shap', 'lime')
NEEDS = dict(
    saliency='captum.attr', integrated_gradients='captum.attr', gradient_shap='captum.attr', deep_lift='captum.attr',
    feature_ablation='skimage.segmentation', occlusion='captum.attr', lime='sklearn.linear_model', xrai='saliency.core')


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build_tiny_model()


def explain(name: str, model: FewShotSegmentor, episode: Episode, **options) -> Tensor:
    explainer = EXPLAINERS.build({'type': name, **CHEAP[name], **options})
    return explainer.attribute(model, episode, 'ground_truth')


@pytest.mark.parametrize('name', CHEAP)
@pytest.mark.parametrize(('ways', 'shots', 'size'), [(2, 2, None), (1, 1, None), (1, 3, (40, 56))])
def test_shape_and_range(name: str, ways: int, shots: int, size, model: FewShotSegmentor) -> None:
    episode = draw_episode(ways, shots, support_size=size)
    with torch.no_grad():
        maps = explain(name, model, episode)
    assert maps.shape == episode.masks.shape and maps.dtype == torch.float32 and not maps.requires_grad
    assert maps.isfinite().all()
    assert maps.min() >= 0 and maps.max() <= 1
    # One scale for the shots of a class. The activations of Grad-CAM may all be negative, and noise is not scaled.
    if name not in ('random', 'grad_cam'):
        assert torch.equal(maps.flatten(1).amin(1), torch.zeros(ways))
        assert torch.equal(maps.flatten(1).amax(1), torch.ones(ways))


@pytest.mark.parametrize('name', CHEAP)
def test_leaves_no_trace(name: str, model: FewShotSegmentor) -> None:
    episode = draw_episode(shots=2)
    model.train()
    parameter = next(model.head.parameters())
    parameter.requires_grad_(True)
    parameter.grad = torch.ones_like(parameter)
    modules = {key: (id(module), module.training) for key, module in model.named_modules()}
    tensors = {key: value.clone() for key, value in model.state_dict().items()}
    wanted = [p.requires_grad for p in model.parameters()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    try:
        explain(name, model, episode)
        assert torch.equal(torch.get_rng_state(), torch_state)
        assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_state))
        assert {key: (id(module), module.training) for key, module in model.named_modules()} == modules
        assert [p.requires_grad for p in model.parameters()] == wanted
        assert torch.equal(parameter.grad, torch.ones_like(parameter))
        assert all(p.grad is None for p in model.parameters() if p is not parameter)
        assert all(torch.equal(value, tensors[key]) for key, value in model.state_dict().items())
        assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
        assert not (episode.support.requires_grad or episode.masks.requires_grad or episode.query.requires_grad)
    finally:
        parameter.grad = None
        model.eval()


@pytest.mark.parametrize('name', CHEAP)
def test_same_episode_same_map(name: str, model: FewShotSegmentor) -> None:
    episode = draw_episode(shots=2)
    first = explain(name, model, episode)
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(explain(name, model, episode), first)


@pytest.mark.parametrize('name', SEEDED)
def test_seeds_and_episodes_differ(name: str, model: FewShotSegmentor) -> None:
    maps = [explain(name, model, draw_episode(name=word), seed=seed) for word, seed in (('a', 0), ('a', 1), ('b', 0))]
    assert not torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


@pytest.mark.parametrize('name', ['saliency', 'integrated_gradients', 'deep_lift', 'grad_cam', 'feature_ablation',
                                  'occlusion'])
def test_a_logit_does_not_depend_on_other_classes(name: str, model: FewShotSegmentor) -> None:
    """Class 1 of two has the same map as alone."""
    episode = draw_episode(ways=2)
    explainer = EXPLAINERS.build({'type': name, **CHEAP[name]})
    alone = Episode(episode.query, episode.support[:1], episode.masks[:1])
    region = episode.target == 1
    both = explainer.attribute(model, episode, torch.stack((region, episode.target == 2)))
    torch.testing.assert_close(both[:1], explainer.attribute(model, alone, region), rtol=0, atol=1e-4)


class OneShotHead(ColourHead):
    """Looks at one of the shots alone."""

    def __init__(self, place: int) -> None:
        super().__init__(sharpness=4.)
        self.place = place

    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> tuple[FeaturePyramid, Tensor]:
        shots = masks.shape[1]
        # LIME shows a shot alone when nothing of the other is left.
        place = min(self.place, shots - 1)
        index = torch.arange(place, support.batch_size, shots)
        return support.select(index), masks[:, place:place + 1]


def masses(name: str, model: FewShotSegmentor, episode: Episode, **options) -> Tensor:
    """Sum of the absolute raw values of each shot of the one class."""
    return explain(name, model, episode, scaling=None, **options)[0].abs().sum((1, 2))


@pytest.mark.parametrize('place', [0, 1])
@pytest.mark.parametrize('name', [name for name in MODEL_BASED if name != 'lime'])
def test_a_support_that_is_not_looked_at_gets_nothing(name: str, place: int) -> None:
    model = ColourSegmentor.build()
    model.head = OneShotHead(place)
    red, green = square(RED, seed=1), square(GREEN, seed=2)
    mass = masses(name, model, episode_of(square((0.9, 0.2, 0.), seed=3), (red, green)))
    assert mass[place] > 0
    assert mass[1 - place] <= 1e-5 * mass[place]


@pytest.mark.parametrize(('name', 'share', 'options'), [
    ('saliency', 0.95, {}),
    ('blur_ig', 0.95, dict(steps=10, max_sigma=5)),
    ('grad_cam', 0.95, {}),
    ('feature_ablation', 0.95, {}),
    ('occlusion', 0.95, {}),
    ('lime', 0.6, dict(n_samples=200, alpha=1e-4)),
])
def test_the_support_that_is_like_the_query_gets_more(name: str, share: float, options: dict) -> None:
    """The query is red; one support shows red, the other nothing but blue."""
    red, blue = square(RED, seed=1), square(BLUE, box=(0, 0, 64, 64), seed=2)
    model = ColourSegmentor.build(sharpness=8.)
    for supports, place in (((red, blue), 0), ((blue, red), 1)):
        mass = masses(name, model, episode_of(square(RED, seed=3), supports), **options)
        assert mass[place] / mass.sum() > share


@pytest.mark.parametrize(('name', 'module'), NEEDS.items())
def test_missing_package(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    extra = 'xrai' if name == 'xrai' else 'explain'
    with pytest.raises(ImportError, match=rf'"{module}".*pip install "mmfss\[{extra}\]"'):
        EXPLAINERS.build(dict(type=name))


@pytest.mark.parametrize('name', ['random', 'gaussian_noise', 'guided_ig', 'blur_ig', 'grad_cam'])
def test_needs_no_package(name: str, model: FewShotSegmentor, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ('captum', 'captum.attr', 'skimage', 'skimage.segmentation', 'sklearn', 'saliency'):
        monkeypatch.setitem(sys.modules, module, None)
    assert explain(name, model, draw_episode()).isfinite().all()


@pytest.mark.parametrize(('config', 'message'), [
    (dict(type='saliency', scaling='max'), 'Unknown scaling "max"'),
    (dict(type='deep_lift', scope='neck'), '"neck" of DeepLIFT.*model, head'),
    (dict(type='blur_ig', axes='rows'), '"rows" of Blur IG.*image, reference'),
    (dict(type='lime', surrogate='tree'), '"tree" of LIME.*lasso, ridge'),
    (dict(type='xrai', algorithm='slow'), '"slow" of XRAI'),
    (dict(type='gradient_shap', kinds=dict(zero=1)), 'both_masked.*zero'),
])
def test_bad_options(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EXPLAINERS.build(config)

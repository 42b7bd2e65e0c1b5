import pytest
import torch

from mmfss.models import FewShotSegmentor
from mmfss.registry import EXPLAINERS
from tests.tiny.colour_matching import BLUE, GREEN, RED, ColourSegmentor, episode_of, square
from tests.tiny.model import build_tiny_model

NAMES = ('prototype_readout', 'encoder_affinity')


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build_tiny_model()


def test_prototype_readout_finds_the_colour() -> None:
    supports = [square(colour, seed=2 + i) for i, colour in enumerate((GREEN, RED, BLUE))]
    episode = episode_of(square(RED, seed=1), supports)
    attribution = EXPLAINERS.build(dict(type='prototype_readout')).attribute(ColourSegmentor.build(), episode)[0]
    means = [(x * mask).sum() / mask.sum() for x, mask in zip(attribution, episode.masks[0])]
    assert means[1] > 0.9 and max(means[0], means[2]) < means[1] - 0.2


def test_prototype_readout_by_hand() -> None:
    # One pixel a position: the prototype of the left half is (1, 0, 0).
    query = torch.zeros(3, 8, 16)
    query[0, :, :8] = query[1, :, 8:] = 1
    support = torch.zeros(3, 8, 16)
    support[:2, :, :8] = 1
    support[2, :, 8:] = 1
    episode = episode_of((query, torch.zeros(8, 16)), [(support, torch.ones(8, 16))])
    region = torch.zeros(8, 16, dtype=torch.bool)
    region[:, :4] = True
    attribution = EXPLAINERS.build(dict(type='prototype_readout', num_levels=1)).attribute(
        ColourSegmentor.build(), episode, region)
    # Two positions of 8 x 8 pixels: cosines 1 / sqrt(2) and 0, then linear between their centres.
    expected = ((12 - torch.arange(0.5, 16)) / 8).clamp(0, 1).expand(1, 1, 8, 16)
    torch.testing.assert_close(attribution, expected)


def test_encoder_affinity_stays_where_the_contributions_are() -> None:
    """Features are averages of pixels: the gradient of a position is flat inside it and zero outside."""
    colours = ColourSegmentor.build()
    episode = episode_of(square(RED, seed=1), [square(RED, seed=2), square(BLUE, seed=3)])
    explainer = EXPLAINERS.build(dict(type='encoder_affinity'))
    attribution = explainer.attribute(colours, episode)
    by_size = EXPLAINERS.build(dict(type='unmasked_affex')).contributions(colours, episode).by_size()
    expected = sum(
        torch.nn.functional.interpolate(maps, scale_factor=64 // size[0]) / (64 // size[0])**2
        for size, maps in by_size.items())
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    torch.testing.assert_close(attribution, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize('name', NAMES)
def test_shapes_and_traces(model: FewShotSegmentor, name: str) -> None:
    torch.manual_seed(0)
    supports = [(torch.randn(3, 48, 80), (torch.rand(48, 80) > 0.5).float()) for _ in range(3)]
    episode = episode_of((torch.randn(3, 64, 96), torch.ones(64, 96)), supports)
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    with torch.no_grad():
        attribution = EXPLAINERS.build(dict(type=name)).attribute(model, episode, 'all')
    assert attribution.shape == (1, 3, 48, 80) and not attribution.requires_grad
    assert attribution.min() == 0 and attribution.max() == 1 and attribution.isfinite().all()
    assert wanted == [parameter.requires_grad for parameter in model.parameters()]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_wrong_option() -> None:
    with pytest.raises(ValueError, match='num_levels must be at least 1'):
        EXPLAINERS.build(dict(type='prototype_readout', num_levels=0))

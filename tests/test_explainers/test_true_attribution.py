"""Exact contributions of support cells as a reference of explainers, on a model whose features are local."""
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.evaluation import PerturbedEpisode, build_attribution_metric
from mmfss.explainers import true_cell_attribution
from mmfss.models import FeaturePyramid, PrototypeMatchingHead
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from tests.tiny.colour_matching import ColourSegmentor
from tests.tiny.episode import draw_episode
from tests.tiny.model import build_tiny_model

CELL = 8


class CellSegmentor(ColourSegmentor):
    """Features are colours, averaged over 8 x 8 pixels: what happens in a cell stays in the cell."""

    @classmethod
    def build(cls, mode: str = 'mean') -> 'CellSegmentor':
        model = super().build()
        model.head = PrototypeMatchingHead([[3]], mode, num_prototypes=2).eval()
        return model

    def extract_feat(self, inputs: Tensor) -> FeaturePyramid:
        return FeaturePyramid(((F.avg_pool2d(inputs, CELL), ), ))


def draw(ways: int = 1, shots: int = 2) -> Episode:
    """An episode whose masks end at cells."""
    episode = draw_episode(ways, shots, (48, 64))
    masks = F.max_pool2d(episode.masks.flatten(0, 1), CELL)
    masks = F.interpolate(masks[:, None], scale_factor=CELL)[:, 0].view_as(episode.masks)
    return Episode(episode.query, episode.support, masks, episode.target)


def pooled(attribution: Tensor) -> Tensor:
    return F.avg_pool2d(attribution, CELL)


def test_occlusion_of_cells_is_removal() -> None:
    """Exactly: image and mask of one cell set to zero, and nothing else changes."""
    model, episode = CellSegmentor.build(), draw()
    region = episode.target[None] == 1
    occlusion = EXPLAINERS.build(dict(type='occlusion', sliding_window=CELL, strides=CELL, scaling=None))
    found = pooled(occlusion.attribute(model, episode, region))
    removal = true_cell_attribution(model, episode, region, 'removal')
    assert removal.abs().max() > 1e-3
    torch.testing.assert_close(found, removal, rtol=0, atol=2e-5)


@pytest.mark.parametrize('mode', ('mean', 'gram'))
@pytest.mark.parametrize('kind', ('readout', 'removal'))
def test_agreement_with_itself(mode: str, kind: str) -> None:
    """Averaged over the pixels of a cell, the explainer's bilinear map still ranks cells much as the reference."""
    model, episode = CellSegmentor.build(mode), draw(ways=2)
    region = torch.stack([episode.target == 1, episode.target == 2])
    subject = PerturbedEpisode(model, episode)
    reference = true_cell_attribution(model, episode, region, kind)
    exact = F.interpolate(reference, scale_factor=CELL)
    for name in (f'{kind}_correlation', f'{kind}_overlap@5%'):
        metric = build_attribution_metric(name)
        assert metric.measure(subject, exact, region).value == pytest.approx(1)
        least = metric.measure(subject, -exact, region).value
        assert least == pytest.approx(-1) if name.endswith('correlation') else least < 0.5
    smooth = EXPLAINERS.build(dict(type='true_attribution', kind=kind)).attribute(model, episode, region)
    assert smooth.shape == episode.masks.shape and smooth.min() == 0 and smooth.max() == 1
    assert build_attribution_metric(f'{kind}_correlation').measure(subject, smooth, region).value > 0.5


def test_explainers_against_what_they_estimate() -> None:
    """Occlusion is closest to the effect of removal, a random map to neither; a constant map has no correlation."""
    model, episode = CellSegmentor.build(), draw()
    region, subject = episode.target[None] == 1, PerturbedEpisode(model, episode)
    values = {}
    for name, options in dict(occlusion=dict(sliding_window=CELL, strides=CELL), random={}).items():
        attribution = EXPLAINERS.build(dict(type=name, **options)).attribute(model, episode, region)
        for kind in ('readout', 'removal'):
            metric = build_attribution_metric(f'{kind}_correlation')
            values[name, kind] = metric.measure(subject, attribution, region).value
    assert values['occlusion', 'removal'] > 0.999 > values['occlusion', 'readout']
    assert abs(values['random', 'removal']) < 0.5
    flat = build_attribution_metric('removal_correlation').measure(subject, torch.ones_like(episode.masks), region)
    assert flat.value != flat.value


def test_gradients_of_the_mask_are_degenerate() -> None:
    """Gradient times mask, and integrated gradients from a zero mask, sum to zero: they do not attribute the score."""
    model, episode = CellSegmentor.build().double(), draw()
    images, region = episode.support[None].double(), episode.target == 1
    masks = episode.masks[None].double()

    def score(weights: Tensor) -> Tensor:
        return model.logits(episode.query[None].double(), images, weights)[0, 1][region].mean()

    total = 0
    for share in (0.25, 0.5, 0.75, 1.):
        weights = (share * masks).requires_grad_()
        gradient, = torch.autograd.grad(score(weights), weights)
        assert (gradient * masks).abs().sum() > 1e-3
        total += float((gradient * masks).sum()) / 4
    assert abs(total) < 1e-9 < abs(float(score(masks)))


def test_needs_a_head_that_knows() -> None:
    model, episode = build_tiny_model(), draw()
    with pytest.raises(ValueError, match='a DCAMAHead does not know the exact contributions'):
        EXPLAINERS.build(dict(type='true_attribution')).attribute(model, episode, 'all')


@pytest.mark.parametrize(('options', 'message'), [
    (dict(name='readout_overlap@0%'), 'percentage must be above 0'),
    (dict(name='removal_correlation', kind='other'), "kind must be 'readout' or 'removal'"),
    (dict(name='removal_correlation', top=2), 'top must be a share'),
])
def test_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_attribution_metric(**options)


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="kind must be 'readout' or 'removal', got 'both'"):
        EXPLAINERS.build(dict(type='true_attribution', kind='both'))

"""Methods that change the supports, against doing so by hand."""
import pytest
import torch
from torch import Tensor

from mmfss.explainers import ClassScore, EncodedEpisode
from mmfss.explainers.superpixels import segment
from mmfss.explainers.xrai import XRAI
from mmfss.models import FewShotSegmentor
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from tests.tiny.episode import draw_episode
from tests.tiny.model import build_tiny_model


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build_tiny_model()


def raw(name: str, model: FewShotSegmentor, episode: Episode, **options) -> Tensor:
    explainer = EXPLAINERS.build(dict(type=name, scaling=None, **options))
    return explainer.attribute(model, episode, 'ground_truth')


def loss_without(model: FewShotSegmentor, episode: Episode, removed: Tensor, masks_too: bool = True) -> float:
    """The logit that the first class loses without the pixels ``removed`` (K, H, W)."""
    region = episode.target == 1
    kept = (~removed).float()
    with torch.no_grad():
        before, after = (
            model.logits(episode.query[None], support[None], masks[None])[0, 1][region].mean() for support, masks in
            ((episode.support, episode.masks),
             (episode.support * kept[None, :, None], episode.masks * kept[None] if masks_too else episode.masks)))
    return (before - after).item()


@pytest.mark.parametrize('perturb_masks', [True, False])
def test_feature_ablation_by_hand(model: FewShotSegmentor, perturb_masks: bool) -> None:
    episode = draw_episode(1, 2)
    options = dict(n_segments=40, compactness=10.)
    segments = segment(episode.support[0], **options)
    assert not set(segments[0].unique().tolist()) & set(segments[1].unique().tolist())
    maps = [raw('feature_ablation', model, episode, perturbations_per_eval=batch, perturb_masks=perturb_masks,
                **options) for batch in (1, 8)]
    torch.testing.assert_close(*maps, rtol=0, atol=1e-5)
    for number in segments.unique()[::5]:
        inside = segments == number
        values = maps[0][0][inside]
        assert values.min() == values.max()
        assert values[0].item() == pytest.approx(loss_without(model, episode, inside, perturb_masks), abs=1e-5)


def test_occlusion_by_hand(model: FewShotSegmentor) -> None:
    """A pixel gets the mean over the windows that cover it."""
    episode = draw_episode(1, 2)
    maps = raw('occlusion', model, episode, sliding_window=32, strides=16)
    losses = []
    for left in (0, 16):
        removed = torch.zeros(2, 48, 64, dtype=torch.bool)
        removed[1, :32, left:left + 32] = True
        losses.append(loss_without(model, episode, removed))
    assert maps[0, 1, 5, 5].item() == pytest.approx(losses[0], abs=1e-5)
    assert maps[0, 1, 5, 20].item() == pytest.approx(sum(losses) / 2, abs=1e-5)


class LinearScore(ClassScore):
    """Two, times the mask left in the upper half of the first support, plus what is left of the second."""

    def __call__(self, support: Tensor, masks: Tensor | None = None, query: Tensor | None = None) -> Tensor:
        self.sizes.append(support.shape[1])
        value = 2 * masks[:, 0, :24].mean((1, 2))
        return value + masks[:, 1].mean((1, 2)) if masks.shape[1] == 2 else value


class TestLime:

    def score(self, model: FewShotSegmentor, masks: Tensor | None = None) -> LinearScore:
        episode = draw_episode(1, 2)
        if masks is not None:
            episode = Episode(episode.query, episode.support, masks, episode.target)
        score = LinearScore(EncodedEpisode(model, episode), 0, episode.target == 1)
        score.sizes = []
        return score

    @pytest.mark.parametrize('surrogate', ['lasso', 'ridge'])
    def test_finds_a_linear_function(self, model: FewShotSegmentor, surrogate: str) -> None:
        score = self.score(model, torch.ones(1, 2, 48, 64))
        lime = EXPLAINERS.build(dict(type='lime', n_samples=600, n_segments=40, surrogate=surrogate, alpha=1e-7))
        maps = lime.explain_class(score)
        segments = segment(score.support[0], 40, 10.)
        # What a pixel of mask is worth.
        worth = torch.zeros(2, 48, 64)
        worth[0, :24] = 2 / (24 * 64)
        worth[1] = 1 / (48 * 64)
        for number in segments.unique():
            inside = segments == number
            assert maps[inside][0].item() == pytest.approx(worth[inside].sum().item(), rel=0.2, abs=5e-3)

    def test_a_support_without_mask_is_taken_out(self, model: FewShotSegmentor) -> None:
        masks = torch.zeros(1, 2, 48, 64)
        masks[0, 0] = 1
        masks[0, 1, 20:22, 30:32] = 1
        score = self.score(model, masks)
        EXPLAINERS.build(dict(type='lime', n_samples=12, n_segments=40)).explain_class(score)
        assert set(score.sizes) == {1, 2}

    def test_every_sample_shows_some_mask(self, model: FewShotSegmentor) -> None:
        masks = torch.zeros(1, 2, 48, 64)
        masks[0, :, 20, 30] = 1
        score = self.score(model, masks)
        lime = EXPLAINERS.build(dict(type='lime', n_samples=50, n_segments=40))
        segments = segment(score.support[0], 40, 10.)
        shown = lime.draw(segments, score)
        carrying = segments[:, 20, 30]
        assert shown[:, carrying].any(1).all()
        assert not shown[:, carrying].all(1).all()

    def test_shared_segments(self, model: FewShotSegmentor) -> None:
        images = draw_episode(1, 2).support[0]
        own, shared = (segment(images, 40, 10., shared=flag) for flag in (False, True))
        assert torch.equal(own[0], shared[0])
        assert torch.equal(own[1] - shared[1], torch.full((48, 64), int(own[0].max()) + 1))
        maps = raw('lime', model, draw_episode(1, 2), n_samples=10, n_segments=40, alpha=1e-6, share_segments=True)
        common = shared[0][shared[0] <= shared[1].max()].unique()
        assert all(torch.equal(maps[0, 0][shared[0] == n][0], maps[0, 1][shared[1] == n][0]) for n in common)

    def test_samples_that_are_not_finite_are_dropped(self) -> None:
        lime = EXPLAINERS.build(dict(type='lime', alpha=1e-9))
        shown = torch.tensor([[0., 1.], [1., 0.], [1., 1.], [0., 0.], [1., 1.]])
        values = torch.tensor([1., 2., 3., 0., torch.nan])
        torch.testing.assert_close(lime.fit(shown, values, torch.ones(5)).float(), torch.tensor([2., 1.]))
        assert torch.equal(lime.fit(shown, values * torch.nan, torch.ones(5)), torch.zeros(2))


class TestXRAI:

    @pytest.mark.parametrize('algorithm', ['fast', 'full'])
    def test_regions_are_ranked_by_their_mean(self, algorithm: str) -> None:
        """Half of the image is red, half blue: each half gets the mean of what it was attributed."""
        image = torch.zeros(3, 40, 60)
        image[0, :, :30] = 1
        image[2, :, 30:] = 1
        gradients = 0.1 * torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(0))
        gradients[:, :, :30] += 1
        ranked = XRAI(algorithm=algorithm)._rank(image, gradients)
        assert ranked[:, :24].min() > ranked[:, 36:].max()
        assert ranked[5, 5].item() == pytest.approx(gradients.amax(0)[:, :30].mean().item(), abs=0.1)

    def test_image_without_contrast(self) -> None:
        gradients = torch.rand(3, 8, 9)
        ranked = XRAI()._rank(torch.ones(3, 8, 9), gradients)
        torch.testing.assert_close(ranked, gradients.amax(0).mean().expand(8, 9))

"""Explanations of INSID3: AffEx unchanged, gradients through the relaxed form."""
import pytest
import torch

from mmfss.evaluation import PerturbedEpisode
from mmfss.evaluation.attribution import InsertionDeletion
from mmfss.models import FewShotSegmentor
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from tests.references.insid3 import GoldenCase
from tests.test_explainers.all_explainers import OPTIONS
from tests.tiny.colour_matching import share
from tests.tiny.insid3 import build_insid3

GRADIENTS = ('saliency', 'integrated_gradients', 'grad_cam', 'gradient_shap', 'guided_ig', 'blur_ig', 'deep_lift',
             'xrai')
PERTURBATIONS = ('lime', 'occlusion', 'feature_ablation')


@pytest.fixture(scope='module')
def case() -> GoldenCase:
    return GoldenCase('k2_g16')


@pytest.fixture(scope='module')
def episode(case: GoldenCase) -> Episode:
    target = torch.from_numpy(case.expected['mask'].astype('int64'))
    return Episode(case.query[0], case.support[0], case.masks[0], target)


class TestAffEx:

    def test_signed_points_to_the_object(self, case: GoldenCase, episode: Episode) -> None:
        explainer = EXPLAINERS.build(dict(type='signed_affex', mask_blur_kernel_size=1))
        explanation = explainer.explain(case.model, episode)
        inside, outside = (explanation.attribution[episode.masks == value].mean() for value in (1, 0))
        assert inside > outside + 0.2
        assert explanation.contributions.weights.tolist() == [[1.]]
        assert explanation.form is None

    def test_is_the_vote_of_the_cosines(self, case: GoldenCase, episode: Episode) -> None:
        """One level, all shots, softmax over all support cells at the temperature."""
        region = torch.ones(1, 16, 16, dtype=torch.bool)
        region[:, 8:] = False
        pixels = region.repeat_interleave(16, 1).repeat_interleave(16, 2)
        pyramid, encoding = case.model.encode(case.query, case.support, case.masks)
        affinity, = case.model.head.matched_way(pyramid, encoding.ways[0]).affinities
        for temperature in (1., 0.05):
            votes = (affinity.dense()[0] / temperature).softmax(-1)
            expected = votes[region.flatten()].sum(0) / (votes.sum(0) + 1e-6) / region.sum()
            explainer = EXPLAINERS.build(
                dict(type='unmasked_affex', temperature=temperature, explanation_size=16))
            shares = explainer.contributions(case.model, episode, pixels).shares[0]
            torch.testing.assert_close(shares.flatten(), expected, rtol=1e-3, atol=1e-8)

    def test_temperature_concentrates_the_map(self, case: GoldenCase, episode: Episode) -> None:
        flat, sharp = (
            EXPLAINERS.build(dict(type='unmasked_affex', temperature=t)).attribute(case.model, episode, 'ground_truth')
            for t in (1., 0.05))
        masks = [*episode.masks[0]]
        assert share(sharp[0], masks) > share(flat[0], masks)

    def test_temperature_above_zero(self) -> None:
        with pytest.raises(ValueError, match='temperature must be above 0, got 0'):
            EXPLAINERS.build(dict(type='signed_affex', temperature=0))

    def test_metric(self, case: GoldenCase, episode: Episode) -> None:
        """Keeping the object keeps the prediction; keeping the background loses it."""
        metric = InsertionDeletion('ins', 'miou', num_steps=1, percentage=0.3, loss=True, skip_empty=True)
        subject, region = PerturbedEpisode(case.model, episode), episode.target[None] == 1
        losses = [metric.measure(subject, x, region).value for x in (episode.masks, 1 - episode.masks)]
        assert losses == [0, 1]


@pytest.fixture(scope='module')
def tiny() -> tuple[FewShotSegmentor, Episode]:
    """A model whose features can be differentiated, and an episode."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(1, 1, 64, 64)
    masks[..., 16:48, 16:48] = 1
    query, support = (torch.randn(*shape, 64, 64, generator=generator) for shape in ((3, ), (1, 1, 3)))
    return build_insid3(), Episode(query, support, masks, masks[0, 0].long())


class TestGradients:

    @pytest.mark.parametrize('name', GRADIENTS)
    def test_take_the_relaxed_form_and_say_so(self, tiny: tuple, name: str) -> None:
        model, episode = tiny
        explainer = EXPLAINERS.build({'type': name, **OPTIONS.get(name, {})})
        explanation = explainer.explain(model, episode, 'ground_truth')
        assert 'relaxed form' in explanation.form
        assert explanation.attribution.isfinite().all() and explanation.attribution.std() > 0
        assert not model.head.relaxed

    @pytest.mark.parametrize('name', PERTURBATIONS)
    def test_perturbations_explain_the_decisions(self, tiny: tuple, name: str) -> None:
        model, episode = tiny
        explainer = EXPLAINERS.build({'type': name, **OPTIONS.get(name, {})})
        assert explainer.explain(model, episode, 'ground_truth').form is None

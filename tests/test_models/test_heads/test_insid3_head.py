"""INSID3: batches, shots, ways, bad input, the relaxed form and the adapter."""
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.evaluation import PerturbedEpisode
from mmfss.models import FeaturePyramid, FewShotSegmentor, INSID3Head
from mmfss.models.affinities import CosineAffinity
from mmfss.models.heads.insid3_head import object_votes
from mmfss.models.layers.cell_clusters import CellClusters
from mmfss.models.layers.mask_cells import mask_cells
from mmfss.models.segmentors.base_few_shot_segmentor import SupportEncoding
from mmfss.structures import Episode
from tests.references.insid3 import GoldenCase
from tests.tiny.insid3 import build_insid3


@pytest.fixture(scope='module')
def case() -> GoldenCase:
    return GoldenCase('k5_g16')


@pytest.fixture(scope='module')
def features(case: GoldenCase) -> tuple[FeaturePyramid, FeaturePyramid]:
    """Of the query and of the five supports."""
    return case.model.extract_feat(torch.cat((case.query, case.support[0, 0]))).split([1, 5])


def predict(model: FewShotSegmentor, query: FeaturePyramid, supports: FeaturePyramid, masks: Tensor) -> Tensor:
    """Logits for masks (B, K, H, W)."""
    return model.match(query, model.encode_features(supports, masks[:, None]), masks.shape[-2:])


def changed_masks(masks: Tensor, count: int) -> Tensor:
    """(count, K, H, W), each with other rows removed."""
    states = masks.repeat(count, 1, 1, 1)
    for number, state in enumerate(states):
        state[:, number::9] = 0
        state[number % state.shape[0], :, :4 * number] = 0
    return states


class TestBatches:

    def test_perturbed_supports_equal_single_calls(self, case: GoldenCase, features: tuple) -> None:
        query, supports = features
        states = changed_masks(case.masks[0, 0][None], 75)
        rows = torch.arange(5).repeat(75)
        together = predict(case.model, query.expand(75), supports.select(rows), states)
        for state, logits in list(zip(states, together))[::15]:
            alone = predict(case.model, FeaturePyramid(query.levels), supports, state[None])[0]
            assert torch.equal(logits.argmax(0), alone.argmax(0))
            torch.testing.assert_close(logits, alone, rtol=0, atol=1e-5)
        assert len({logits.argmax(0).sum().item() for logits in together}) > 10

    def test_one_set_for_several_queries(self, case: GoldenCase) -> None:
        encoding = case.model.encode_support(case.support, case.masks)
        queries = torch.cat((case.query, case.support[0, 0, :2]))
        together = case.model.logits(queries, encoding)
        for query, logits in zip(queries, together):
            torch.testing.assert_close(logits, case.model.logits(query[None], encoding)[0], rtol=0, atol=1e-5)

    def test_clusters_are_computed_once(self, case: GoldenCase) -> None:
        episode = Episode(case.query[0], case.support[0].expand(2, -1, -1, -1, -1), case.masks[0].expand(2, -1, -1, -1))
        states = changed_masks(case.masks[0, 0][None], 6).unsqueeze(1).expand(-1, 2, -1, -1, -1)
        with mock.patch.object(CellClusters, 'of', side_effect=CellClusters.of) as clustered:
            subject = PerturbedEpisode(case.model, episode)
            subject.logits(episode.support.expand(6, -1, -1, -1, -1, -1), states)
        assert clustered.call_count == 1

    def test_sizes_may_differ_and_need_not_be_square(self) -> None:
        model = build_insid3()
        support, masks = torch.randn(1, 2, 3, 3, 72, 56), torch.zeros(1, 2, 3, 72, 56)
        masks[..., 8:40, 16:40] = 1
        logits = model.logits(torch.randn(1, 3, 64, 96), support, masks)
        assert logits.shape == (1, 3, 64, 96) and logits.isfinite().all()


@pytest.mark.parametrize('share', [0., 0.02, 0.5, 1.])
def test_votes_are_those_of_the_nearest_cells(share: float) -> None:
    """Small integers: many cosines are equal, also inside and outside of the mask."""
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randint(-1, 2, (1, n, 4), generator=generator).float() for n in (50, 2 * 30))
    masks = torch.rand(2, 30, generator=generator) < share
    affinity = CosineAffinity(query, key, (5, 10), (2, 5, 6))
    expected = masks.gather(1, affinity.nearest(groups=2)[0].T)
    assert torch.equal(object_votes(affinity, masks), expected)
    none = affinity.part(0, torch.arange(0))
    assert object_votes(none, masks).shape == (2, 0)


class TestWays:

    def test_signs_are_those_of_the_resized_mask(self, case: GoldenCase, features: tuple) -> None:
        query, supports = features
        encoding = case.model.encode_features(supports, case.masks[:, :1]).ways[0]
        logits = case.model.head(query, encoding)
        mask = (logits[:, 1:] > 0).float()
        size = case.masks.shape[-2:]
        expected = F.interpolate(mask, size, mode='bilinear', align_corners=False) - 0.5
        composed = case.model.head.combine_shots(logits, size)
        assert torch.equal(composed[:, 1:] > 0, expected > 0)
        assert logits.abs().amax() > 0.5 + 1e-3  # larger than without scores

    def test_ranked_by_score(self, case: GoldenCase, features: tuple) -> None:
        """Of two equal masks, the one of the lower score loses wherever both are foreground."""
        query, supports = features
        way = case.model.head(query, case.model.encode_features(supports, case.masks[:, :1]).ways[0])
        weaker = torch.cat((way[:, :1], way[:, 1:].sign() * (way[:, 1:].abs() - 0.01)), dim=1)
        for ways, best in (((way, weaker), 1), ((weaker, way), 2)):
            labels = case.model.compose(ways, case.masks.shape[-2:]).argmax(1)
            assert set(labels.unique().tolist()) == {0, best}


class TestBadInput:

    def test_a_shot_without_object_is_skipped(self, case: GoldenCase, features: tuple) -> None:
        query, supports = features
        masks = case.masks[0].clone()
        masks[:, 1] = 0
        kept = torch.tensor([0, 2, 3, 4])
        expected = predict(case.model, query, supports.select(kept), masks[:, kept])
        torch.testing.assert_close(predict(case.model, query, supports, masks), expected, rtol=0, atol=1e-5)

    def test_no_object_at_all_is_background(self, case: GoldenCase, features: tuple) -> None:
        logits = predict(case.model, *features, torch.zeros_like(case.masks[0]))
        assert logits.isfinite().all() and (logits.argmax(1) == 0).all()

    def test_no_candidate_is_background(self, case: GoldenCase, features: tuple) -> None:
        query, supports = features
        encoding = case.model.encode_features(supports, case.masks[:, :1]).ways[0]
        logits = case.model.head.decode([torch.zeros(1, 1, 16, 16)], query, encoding)
        assert (logits[:, 1] == -0.5).all()

    def test_no_support(self, case: GoldenCase) -> None:
        with pytest.raises(ValueError, match='at least one support image'):
            case.model.logits(case.query, case.support[:, :, :0], case.masks[:, :, :0])

    def test_other_features(self) -> None:
        with pytest.raises(ValueError, match='DebiasedFeatures'):
            INSID3Head([[64], [128]])

    def test_a_mask_of_one_pixel_has_a_cell(self) -> None:
        masks = torch.zeros(2, 2, 30, 44)
        masks[0, 0, 29, 43] = masks[1, 1, 5, 20] = 1
        assert mask_cells(masks, (3, 4)).flatten(2).sum(2).tolist() == [[1, 0], [0, 1]]


class TestRelaxedForm:

    def test_is_its_formula(self, case: GoldenCase, features: tuple) -> None:
        (query, ), (support, ) = ([level[1].flatten(2) for level in part] for part in features)
        weights = F.interpolate(case.masks[0], (16, 16), mode='bilinear', align_corners=False)[0].flatten(1)
        prototype = F.normalize(sum((d @ m) / m.sum() for d, m in zip(support, weights)) / 5, dim=0)
        backward = sum((10 * query[0].T @ d).softmax(1) @ m for d, m in zip(support, weights)) / 5
        expected = (10 * query[0].T @ prototype).sigmoid() * backward

        head = INSID3Head(case.model.head.in_channels).eval()
        assert 'relaxed' in head.use_differentiable_form()
        logits = head(features[0], head.encode_support(features[1], case.masks[0]))
        torch.testing.assert_close(logits[0, 1].flatten(), expected, rtol=0, atol=1e-5)
        assert (logits[0, 0] == 0).all()

    def test_has_a_gradient_where_the_decisions_have_none(self) -> None:
        model = build_insid3()
        masks = torch.zeros(1, 1, 2, 64, 64)
        masks[..., 16:48, 16:48] = 1
        support = torch.randn(1, 1, 2, 3, 64, 64, requires_grad=True)
        query = torch.randn(1, 3, 64, 64)
        assert not model.logits(query, support, masks).requires_grad
        model.use_differentiable_form()
        gradient, = torch.autograd.grad(model.logits(query, support, masks)[:, 1].sum(), support)
        assert gradient.isfinite().all() and gradient.abs().sum() > 0


class TestAdapter:

    def test_is_trained_with_the_relaxed_form(self) -> None:
        model = build_insid3(head=dict(adapter_channels=8), features=dict(compact=False))
        assert not model.head.training_free and INSID3Head.training_free
        model.train()
        masks = torch.zeros(2, 1, 64, 64)
        masks[..., 16:48, 16:48] = 1
        pyramid = model.extract_feat(torch.randn(2, 3, 64, 64))
        encoding = model.head.encode_support(pyramid, masks)
        logits, own = model.head.forward_train(pyramid, encoding, masks[:, 0].long())
        logits = model.combine_shots(logits, (64, 64), for_loss=True)
        model.head.loss(logits, masks[:, 0].long())['loss_ce'].backward()
        assert own == {} and all(x.grad.abs().sum() > 0 for x in model.head.parameters())
        model.eval()
        assert model.match(pyramid, SupportEncoding((model.head.encode_support(pyramid, masks), ), 2),
                           (64, 64)).isfinite().all()

    def test_needs_all_channels(self) -> None:
        with pytest.raises(ValueError, match='features.compact=False'):
            build_insid3(head=dict(adapter_channels=8))

    def test_without_it_there_is_nothing_to_train(self, case: GoldenCase, features: tuple) -> None:
        head = case.model.head
        assert head.training_free and not list(head.parameters())
        encoding = head.encode_support(features[1], case.masks[0])
        with pytest.raises(ValueError, match='tools/test.py without a checkpoint.*adapter_channels'):
            head.forward_train(features[0], encoding, torch.zeros(1, 256, 256).long())

"""GF-SAM as a head: one embedding per query, ways, batches, bad input."""
import pytest
import torch

from mmfss.evaluation import PerturbedEpisode
from mmfss.models import FewShotSegmentor
from mmfss.models.heads import gfsam_head
from mmfss.models.layers.mask_graph import by_majority, grow, nearest_pixels, shrink, weak_components
from mmfss.registry import EXPLAINERS, MODELS
from tests.tiny.episode import draw_episode
from tests.tiny.model import TINY_MODEL, build_tiny_model
from tests.tiny.sam import TINY, build_sam

SIZE = (56, 70)


def build(**sam: object) -> FewShotSegmentor:
    build_tiny_model()  # registers everything
    reader = dict(type='ResizedFeatures', size=(64, 64), reader=dict(type='ResNetFeatures', indices=[3]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS.build({
            **TINY_MODEL, 'features': reader, 'head': dict(type='GFSAMHead', sam=sam or dict(type='DiscSAM'))
        }).eval()


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build()


@torch.no_grad()
def test_image_is_embedded_once_for_ways_and_states() -> None:
    model, episode = build(), draw_episode(2, 2, size=SIZE)
    states = episode.masks.expand(5, -1, -1, -1, -1).clone()
    for number, state in enumerate(states):
        state[..., :10 + 5 * number, :] = 0
    together = PerturbedEpisode(model, episode).logits(episode.support.expand(5, *episode.support.shape), states)
    assert model.head.sam.embedded == 1
    for state, logits in zip(states, together):
        alone = model.logits(episode.query[None], episode.support[None], state[None])[0]
        assert torch.equal(logits.argmax(0), alone.argmax(0))


@torch.no_grad()
def test_predictions_have_the_size_of_the_query(model: FewShotSegmentor) -> None:
    episode = draw_episode(1, 3, size=SIZE, support_size=(48, 64))
    logits = model.logits(episode.query[None], episode.support[None], episode.masks[None])
    assert logits.shape == (1, 2, *SIZE) and logits.isfinite().all()
    assert 0 < logits.argmax(1).sum() < logits[0, 0].numel()


@torch.no_grad()
def test_real_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    build_sam()  # skips without the package
    monkeypatch.setattr(gfsam_head, 'MAX_POINTS', 3)
    episode = draw_episode(1, 1, size=SIZE)
    logits = build(arch=TINY).logits(episode.query[None], episode.support[None], episode.masks[None])
    assert logits.shape == (1, 2, *SIZE) and logits.isfinite().all()


@torch.no_grad()
def test_empty_masks_take_the_centre(model: FewShotSegmentor) -> None:
    episode = draw_episode(1, 2, size=SIZE)
    empty, centre = torch.zeros_like(episode.masks), torch.zeros_like(episode.masks)
    centre[..., 21:35, 28:42] = 1
    found = [model.logits(episode.query[None], episode.support[None], m[None]) for m in (empty, centre)]
    assert torch.equal(*found)


def test_no_evidence_is_background(model: FewShotSegmentor) -> None:
    episode = draw_episode(1, 1, size=SIZE)
    pyramid, encoding = model.encode(episode.query[None], episode.support[None], episode.masks[None])
    logits = model.head.decode([torch.zeros(1, 3, 8, 8)], pyramid, encoding.ways[0])
    assert (logits.argmax(1) == 0).all() and logits.isfinite().all()


class TestExplainers:

    def test_affex(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(1, 2, size=SIZE)
        explainer = EXPLAINERS.build(dict(type='signed_affex', temperature=0.1))
        explanation = explainer.explain(model, episode, 'ground_truth')
        assert explanation.contributions.weights.tolist() == [[1.]]
        assert explanation.attribution.isfinite().all()

    @pytest.mark.parametrize('name', ['saliency', 'integrated_gradients'])
    def test_gradients_are_refused(self, model: FewShotSegmentor, name: str) -> None:
        with pytest.raises(ValueError, match='GF-SAM have no gradient: choose AffEx'):
            EXPLAINERS.build(dict(type=name)).attribute(model, draw_episode(1, 1, size=SIZE), 'ground_truth')


class TestGraph:

    def test_components_ignore_the_direction(self) -> None:
        edges = torch.eye(5, dtype=torch.bool)
        edges[3, 0] = edges[2, 4] = True
        assert weak_components(edges).tolist() == [0, 1, 2, 0, 2]

    def test_growth_counts_what_a_mask_adds(self) -> None:
        """The second mask is positive on the whole, but not what it adds to the first."""
        positive = torch.tensor([[1, 1, 1, 0, 0]], dtype=torch.bool)
        shares = torch.tensor([[[1., 1, 1, 0, 0]], [[1., 1, 1, 1, 0]]])
        foreground, balance = grow(shares, torch.tensor([0, 0]), torch.tensor([1., 0.5]), positive)
        assert foreground.tolist() == [True, False] and balance.tolist() == [-1, -1]

    def test_minority_is_dropped(self) -> None:
        consistent, component = torch.tensor([1, 0, 0, 1, 0]).bool(), torch.tensor([0, 0, 0, 1, 1])
        assert by_majority(consistent, component).tolist() == [False, False, False, True, False]

    def test_masks_on_the_grid(self) -> None:
        masks = torch.rand(3, 50, 61, generator=torch.Generator().manual_seed(0)) > 0.5
        resize = torch.nn.functional.interpolate
        expected = resize(masks[None].float(), (7, 9), mode='bilinear', align_corners=False)[0]
        torch.testing.assert_close(shrink(masks, (7, 9)), expected)
        assert torch.equal(nearest_pixels(masks, (7, 9)), resize(masks[None].float(), (7, 9))[0] > 0)

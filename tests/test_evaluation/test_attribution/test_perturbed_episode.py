import pytest
import torch

from mmfss.evaluation import PerturbedEpisode
from mmfss.models import FewShotSegmentor
from mmfss.structures import Episode
from tests.references.seeded import seeded_image, seeded_mask
from tests.test_evaluation.test_attribution.toy import CopyModel, row_episode
from tests.tiny.model import build_tiny_model

SIZE = (64, 96)


def draw_episode(ways: int, shots: int) -> Episode:
    images = torch.from_numpy(seeded_image('images', (1 + ways * shots, 3, *SIZE)))
    masks = torch.from_numpy(seeded_mask('masks', (ways, shots, *SIZE)))
    return Episode(images[0], images[1:].unflatten(0, (ways, shots)), masks)


def draw_states(episode: Episode) -> tuple[torch.Tensor, torch.Tensor]:
    """Six states: unchanged, some pixels gone, one shot gone, the same again, a mask gone, all gone."""
    support, masks = (torch.stack([x] * 6) for x in (episode.support, episode.masks))
    kept = torch.rand(masks[1].shape, generator=torch.Generator().manual_seed(0)) > 0.5
    support[1], masks[1] = support[1] * kept[:, :, None], masks[1] * kept
    support[2:4, -1, -1], masks[2:4, -1, -1] = 0, 0
    masks[4, 0, 0] = 0
    support[5], masks[5] = 0, 0
    return support, masks


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build_tiny_model()


@pytest.mark.parametrize('ways, shots', [(1, 1), (1, 3), (2, 2)])
def test_equals_one_at_a_time_for_any_batch_size(model: FewShotSegmentor, ways: int, shots: int) -> None:
    episode = draw_episode(ways, shots)
    support, masks = draw_states(episode)
    with torch.no_grad():
        expected = torch.cat([model.logits(episode.query[None], s[None], m[None]) for s, m in zip(support, masks)])
    assert (expected[1:] - expected[:1]).abs().flatten(1).amax(1).min() > 1e-4
    for batch_size in (1, 2 * ways * shots, 5 * ways * shots, 1000):
        subject = PerturbedEpisode(model, episode, batch_size)
        torch.testing.assert_close(subject.original_logits, expected[0], rtol=0, atol=1e-5)
        logits = subject.logits(support, masks)
        assert logits.shape == (6, ways + 1, *SIZE) and not logits.requires_grad
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
        scanned = torch.stack(list(subject.scan(zip(support, masks))))
        torch.testing.assert_close(scanned, expected, rtol=0, atol=1e-5)


def test_query_of_another_size(model: FewShotSegmentor) -> None:
    episode = draw_episode(1, 1)
    episode = Episode(torch.from_numpy(seeded_image('query', (3, 96, 64))), episode.support, episode.masks)
    support, masks = draw_states(episode)
    logits = PerturbedEpisode(model, episode).logits(support, masks)
    assert logits.shape == (6, 2, 96, 64)
    with torch.no_grad():
        expected = model.logits(episode.query[None], support[1:2], masks[1:2])
    torch.testing.assert_close(logits[1:2], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('batch_size', [1, 6, 100])
def test_encodes_only_what_is_new(batch_size: int) -> None:
    """Changed images once, as long as they stay as they are."""
    model = CopyModel()
    subject = PerturbedEpisode(model, row_episode([[[1, 1], [1, 0]], [[0, 1], [1, 1]]]), batch_size)
    episode = subject.episode
    assert subject.original_logits.shape == (3, 1, 2)
    assert model.encoded == 1 + 4

    def encoded(*changes: list[tuple[int, int, float]]) -> int:
        before = model.encoded
        support = torch.stack([episode.support] * len(changes))
        for state, slots in enumerate(changes):
            for way, shot, value in slots:
                support[state, way, shot] = value
        logits = subject.logits(support, torch.stack([episode.masks] * len(changes)))
        for state, images in enumerate(support):
            bright = (images[:, :, 0] * episode.masks).amax(1)
            assert torch.equal(logits[state, 1:], 200 * bright)
        return model.encoded - before

    assert encoded([], []) == 0
    # One support of four changes, stays, changes back.
    assert encoded([(1, 0, 0.)], [(1, 0, 0.)], []) == 1
    # Two change; then one of them again.
    assert encoded([(0, 1, 0.), (1, 1, 0.)], [(0, 1, 0.), (1, 1, 0.5)]) == 3
    # Known from the last state of the call before.
    assert encoded([(0, 1, 0.), (1, 1, 0.5)]) == 0
    assert encoded([(0, 0, 2.), (0, 1, 0.)], [(0, 0, 2.), (1, 1, 3.)], [(0, 0, 2.), (1, 1, 3.)]) == 2


def test_masks_alone_encode_nothing() -> None:
    model = CopyModel()
    subject = PerturbedEpisode(model, row_episode([[[1, 1]]]))
    assert subject.original_logits.argmax(0).tolist() == [[1, 1]]
    before = model.encoded
    logits = subject.logits(subject.episode.support[None], torch.tensor([[[[[1., 0.]]]]]))
    assert logits.argmax(1).tolist() == [[[1, 0]]] and model.encoded == before


def test_no_state() -> None:
    subject = PerturbedEpisode(CopyModel(), row_episode([[[1, 1]]]))
    assert subject.logits(torch.empty(0, 1, 1, 3, 1, 2), torch.empty(0, 1, 1, 1, 2)).shape == (0, 2, 1, 2)
    assert list(subject.scan([])) == []


def test_errors(model: FewShotSegmentor) -> None:
    episode = row_episode([[[1, 1]]])
    with pytest.raises(ValueError, match='batch_size must be at least 1, got 0'):
        PerturbedEpisode(model, episode, 0)
    subject = PerturbedEpisode(model, episode)
    with pytest.raises(ValueError, match=r'supports \(T, 1, 1, 3, 1, 2\)'):
        subject.logits(episode.support, episode.masks)
    with pytest.raises(ValueError, match='States of this episode'):
        subject.logits(episode.support[None], torch.cat([episode.masks[None]] * 2))
    model.train()
    try:
        with pytest.raises(ValueError, match='eval'):
            PerturbedEpisode(model, episode)
    finally:
        model.eval()

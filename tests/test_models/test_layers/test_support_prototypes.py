"""Masked pooling into several prototypes, groups of them, and what becomes of masks on the grid."""
import pytest
import torch

from mmfss.models.layers.evidence_decoder import EvidenceDecoder
from mmfss.models.layers.pyramid_scales import PyramidScales, cell_shares
from mmfss.models.layers.support_prototypes import log_mean_exp, nearest_cells, overlap_groups, pooled


def test_pooled_by_hand() -> None:
    cells = torch.tensor([[0., 0.], [1., 0.], [0., 1.], [9., 9.]])
    weights = torch.tensor([1., 0.5, 1., 0.])
    belongs = torch.tensor([[1., 1., 0., 1.], [0., 0., 1., 0.], [0., 0., 0., 1.]])
    vectors, shares = pooled(cells, weights, belongs)
    torch.testing.assert_close(shares, torch.tensor([[2 / 3, 1 / 3, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]))
    torch.testing.assert_close(vectors, torch.tensor([[1 / 3, 0], [0, 1], [0, 0]]))
    # One prototype that all belong to: masked average pooling.
    vectors, _ = pooled(cells, weights, torch.ones(1, 4))
    torch.testing.assert_close(vectors[0], (weights[:, None] * cells).sum(0) / weights.sum())


def test_nearest_cells_are_of_the_side() -> None:
    distances = torch.tensor([[0.1, 0.5, 0.2, 0.3], [0.9, 0.1, 0.1, 0.]])
    # The nearest shows more of the other side; of equals the first.
    assert nearest_cells(distances, torch.tensor([0.3, 1., 0.9, 0.])).tolist() == [2, 1]
    # All weights are small: the largest decide.
    assert nearest_cells(distances, torch.tensor([0.03, 0.1, 0.09, 0.])).tolist() == [2, 1]


def test_groups_link_what_shares_cells() -> None:
    """Two scales of two prototypes, two parts; the second scale numbers them the other way round."""
    halves = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    assignments = torch.stack((halves, halves.flip(0)))[None]
    parts = torch.tensor([[[1., 1, 0, 0], [0, 0, 1, 1]]])
    every, both = torch.ones(1, 2, 2, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    one, none = torch.tensor(1.), torch.zeros(2)
    groups = overlap_groups(assignments, every, parts, both, one, none)
    expected = torch.tensor([[[[0.5, 0], [0, 0.5]], [[0, 0.5], [0.5, 0]]]])
    torch.testing.assert_close(groups, expected)
    # A scale that is preferred.
    groups = overlap_groups(assignments, every, parts, both, one, torch.tensor([0.4, 0.]))
    torch.testing.assert_close(groups[0, 0], torch.tensor([[0.7, 0], [0, 0.3]]))
    # Without focus all prototypes weigh the same; those that do not exist and parts that do not exist are 0.
    every[0, 1, 1] = both[0, 1] = False
    groups = overlap_groups(assignments, every, parts, both, torch.tensor(0.), none)
    torch.testing.assert_close(groups, torch.tensor([[[[1 / 3, 1 / 3], [1 / 3, 0]], [[0, 0], [0, 0]]]]))


def test_log_mean_exp() -> None:
    logits = torch.tensor([1., 3., 1000.]).log()[None, :, None, None]
    exists = torch.tensor([[True, True, False]])
    torch.testing.assert_close(log_mean_exp(logits, exists), torch.tensor(2.).log()[None, None, None])
    assert log_mean_exp(logits, torch.zeros_like(exists)).item() == 0


def test_no_mask_vanishes() -> None:
    masks = torch.zeros(1, 2, 33, 50)
    masks[0, 0, 17, 31] = 1
    masks[0, 1] = 1
    shares = cell_shares(masks, (4, 6)).view(2, 4, 6)
    assert (shares[0] > 0).sum() >= 1 and torch.equal(shares[1], torch.ones(4, 6))
    # On a grid that divides the mask, areas.
    torch.testing.assert_close(cell_shares(masks[:, :, :32, :48], (4, 6)).view(2, 4, 6)[0, 2, 3], torch.tensor(1 / 64))


def test_scales() -> None:
    torch.manual_seed(0)
    scales = PyramidScales(((4, 4), (6, )), 8)
    levels = [[torch.randn(2, 4, 8, 12) for _ in range(2)], [torch.randn(2, 6, 4, 6)]]
    z = scales(levels)
    assert z.shape == (2, 2, 8, 8, 12) and 0 < z.min() < 0.4 and 0.6 < z.max() < 1
    # A scale sees its own level and nothing else.
    other = scales([levels[0], [torch.randn(2, 6, 4, 6)]])
    assert torch.equal(other[:, 0], z[:, 0]) and not torch.equal(other[:, 1], z[:, 1])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert scales(levels).dtype == torch.float32
    with pytest.raises(ValueError, match='scale_channels must be a positive multiple of 4, got 10'):
        PyramidScales(((4, ), ), 10)


def test_decoder_begins_without_correction() -> None:
    decoder = EvidenceDecoder(6, 8)
    assert not decoder(torch.randn(2, 6, 5, 7)).any() and decoder(torch.randn(2, 6, 5, 7)).shape == (2, 5, 7)
    with pytest.raises(ValueError, match='hidden_channels must be a multiple of 4, got 6'):
        EvidenceDecoder(6, 6)

"""Choice of the masked images and composition of batches, beside the reference numbers."""
import numpy as np
import pytest

from mmfss.datasets.partial_labels import ReleaseOrder, SeededOrder, choose_masked, mixed_distribution
from tests.references.seeded import seeded_array
from tests.references.unrolled_lrp import golden

GOLDEN = golden('sampling')


def labels() -> np.ndarray:
    drawn = seeded_array('labels', (120, 6), 42) > np.linspace(0.8, 1.9, 6)
    drawn[~drawn.any(1), 0] = True
    assert np.array_equal(drawn, GOLDEN['labels'])
    return drawn.astype(int)


@pytest.mark.parametrize('uniform', [0.0, 0.5, 1.0])
def test_chosen_images(uniform: float) -> None:
    np.testing.assert_allclose(mixed_distribution(labels(), uniform), GOLDEN[f'dist_u{uniform}'], rtol=1e-12)
    for number in (10, 30):
        assert choose_masked(labels(), number, uniform) == GOLDEN[f'chosen_u{uniform}_n{number}'].tolist()


def release_order() -> ReleaseOrder:
    batch, size, seed = GOLDEN['sampler_args'].tolist()
    return ReleaseOrder(GOLDEN['sampler_A'], GOLDEN['sampler_B'], batch, size, seed)


def test_release_order() -> None:
    order = release_order()
    assert np.array_equal(order.epoch(0), GOLDEN['sampler_epoch1'])
    assert np.array_equal(order.epoch(1), GOLDEN['sampler_epoch2'])
    length = len(GOLDEN['sampler_epoch1'])
    # Any index, in any order, also after a later one.
    assert [order[length + 7], order[3]] == [GOLDEN['sampler_epoch2'][7], GOLDEN['sampler_epoch1'][3]]
    assert release_order()[length] == GOLDEN['sampler_epoch2'][0]


def test_release_order_needs_both() -> None:
    with pytest.raises(ValueError, match="needs images with and without a mask.*order='seeded'"):
        ReleaseOrder([1], [], 2, 4)


@pytest.mark.parametrize(('share', 'batch_size'), [(0.5, 10), (0.5, 5), (0.3, 4), (1.0, 4), (0.0, 3)])
def test_seeded_order(share: float, batch_size: int) -> None:
    masked, unmasked = list(range(7)), list(range(100, 140))
    order = SeededOrder(masked, unmasked, batch_size, share, seed=3)
    drawn = [order[i] for i in range(20 * batch_size)]
    counts = [sum(i < 100 for i in drawn[b:b + batch_size]) for b in range(0, len(drawn), batch_size)]
    assert sum(counts) == int(share * len(drawn)) and max(counts) - min(counts) <= 1
    # Every image of a sort once, before any of them again.
    for images in (masked, unmasked):
        often = [drawn.count(i) for i in images]
        assert max(often) - min(often) <= 1
    again = SeededOrder(masked, unmasked, batch_size, share, seed=3)
    assert [again[i] for i in reversed(range(len(drawn)))] == drawn[::-1]
    other = SeededOrder(masked, unmasked, batch_size, share, seed=4)
    assert [other[i] for i in range(len(drawn))] != drawn


def test_seeded_order_of_one_sort() -> None:
    assert {SeededOrder([4, 5], [], 2)[i] for i in range(20)} == {4, 5}
    assert {SeededOrder([], [4, 5], 2)[i] for i in range(20)} == {4, 5}

from typing import Optional

import pytest
import torch
from torch import Tensor

from mmfss.evaluation.functional import compute_scores, episode_counts, tabulate_counts
from mmfss.evaluation.threshold_curve import ThresholdCounts, best_threshold, log_odds, threshold_grid

GRID = threshold_grid(0.05)
CLASSES = [3, 5, 8]


def episodes(number: int = 11, size: tuple[int, int] = (9, 7)) -> tuple[Tensor, Tensor, list[int]]:
    """Margins that are far from every threshold in units of rounding, targets with ignored pixels, classes."""
    generator = torch.Generator().manual_seed(0)
    margins = (torch.randint(-400, 400, (number, *size), generator=generator) + 0.5) / 64
    targets = torch.tensor([0, 0, 1, 1, 255])[torch.randint(5, (number, *size), generator=generator)]
    targets[0] = 0  # an object that is not there at network size
    return margins, targets, [CLASSES[i % 2] for i in range(number)]


def brute_force(margins: Tensor, targets: Tensor, class_ids: list[int], threshold: float) -> float:
    """mIoU of the package's metric for predictions at one threshold."""
    entries = [
        dict(class_ids=[class_id], **episode_counts((margin > log_odds(threshold)).long(), target, 1))
        for margin, target, class_id in zip(margins, targets, class_ids)]
    return compute_scores(tabulate_counts(entries, CLASSES)).miou


def counted(margins: Tensor, targets: Tensor, class_ids: list[int], batch: int = 4,
            counts: Optional[ThresholdCounts] = None) -> ThresholdCounts:
    counts = counts or ThresholdCounts(CLASSES, GRID)
    for start in range(0, len(margins), batch):
        part = slice(start, start + batch)
        counts.add_margins(margins[part], targets[part], class_ids[part])
    return counts


class TestCurve:

    @pytest.mark.parametrize('batch', [1, 4, 11])
    @pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
    def test_equals_brute_force(self, batch: int, dtype: torch.dtype) -> None:
        margins, targets, class_ids = episodes()
        curve = counted(margins.to(dtype), targets, class_ids, batch).miou()
        expected = [brute_force(margins, targets, class_ids, threshold) for threshold in GRID]
        assert curve == pytest.approx(expected, rel=1e-12)  # the same counts, summed in another order
        assert len(set(curve)) > len(GRID) / 2  # a curve, not a constant

    def test_extreme_margins(self) -> None:
        """All foreground, all background, and logits that no probability of float32 could tell apart."""
        targets = torch.tensor([[[1, 0, 255]]])
        for value, expected in ((1e4, 50.), (-1e4, 0.), (float('inf'), 50.), (float('-inf'), 0.)):
            counts = ThresholdCounts([3], GRID)
            counts.add_margins(torch.full((1, 1, 3), value), targets, [3])
            assert counts.miou() == [expected] * len(GRID)

    def test_a_margin_on_the_threshold_is_background(self) -> None:
        """As for the model, whose argmax takes the first of equal logits."""
        counts = ThresholdCounts([3], [0.5])
        counts.add_margins(torch.tensor([[[0., 1.]]]), torch.tensor([[[1, 1]]]), [3])
        assert counts.miou() == [50.]

    def test_predictions_of_several_ways(self) -> None:
        generator = torch.Generator().manual_seed(1)
        predictions, targets = (torch.randint(3, (5, 6, 8), generator=generator) for _ in range(2))
        targets[:, 0] = 255
        groups = [[3, 5], [5, 3], [8, 3], [5, 8], [3, 8]]
        counts = ThresholdCounts(CLASSES, [0.25, 0.5])
        counts.add_predictions(0, predictions, targets, groups)
        counts.add_predictions(1, predictions.flip(0), targets, groups)
        for shown, found in zip((predictions, predictions.flip(0)), counts.miou()):
            entries = [dict(class_ids=group, **episode_counts(prediction, target, 2))
                       for prediction, target, group in zip(shown, targets, groups)]
            assert found == pytest.approx(compute_scores(tabulate_counts(entries, CLASSES)).miou, rel=1e-12)
        assert counts.episodes.tolist() == [4, 3, 3]

    def test_sums_of_processes_add_up(self) -> None:
        margins, targets, class_ids = episodes()
        whole = counted(margins, targets, class_ids)
        shares = [counted(margins[rank::2], targets[rank::2], class_ids[rank::2]) for rank in (0, 1)]
        assert torch.equal(shares[0].sums + shares[1].sums, whole.sums)
        assert torch.equal(shares[0].episodes + shares[1].episodes, whole.episodes)

    def test_memory_does_not_grow_with_episodes(self) -> None:
        counts = counted(*episodes(20))
        assert counts.sums.shape == (len(CLASSES), len(GRID), 2)

    def test_nothing_counted(self) -> None:
        with pytest.raises(ValueError, match='No episode'):
            ThresholdCounts(CLASSES, GRID).miou()


class TestGrid:

    def test_values(self) -> None:
        grid = threshold_grid()
        assert len(grid) == 99 and grid[0] == 0.01 and grid[11] == 0.12 and 0.5 in grid and grid[-1] == 0.99

    @pytest.mark.parametrize('step', [0., -0.1, 0.3, 0.2, 0.7, 1e-9, float('nan')])
    def test_steps_without_a_half(self, step: float) -> None:
        with pytest.raises(ValueError, match='must divide 0.5'):
            threshold_grid(step)


class TestBest:

    def test_mean_over_curves(self) -> None:
        assert best_threshold([0.25, 0.5, 0.75], [[9, 5, 0], [0, 5, 8]]) == 1

    def test_of_equals_the_nearest_to_the_default(self) -> None:
        grid = [0.1, 0.4, 0.5, 0.6, 0.9]
        assert best_threshold(grid, [[7, 7, 0, 7, 7]]) == 1
        assert best_threshold(grid, [[7, 0, 7, 7, 7]]) == 2
        assert best_threshold(grid, [[0, 0, 0, 0, 1]]) == 4

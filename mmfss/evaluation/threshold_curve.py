"""mIoU as a function of the foreground threshold, from one pass over the episodes."""
from math import log
from typing import Sequence

import numpy as np
import torch
from mmengine.dist import all_reduce
from torch import Tensor

DEFAULT = 0.5


def threshold_grid(step: float = 0.01) -> list[float]:
    """List thresholds between 0 and 1, both excluded, that contain 0.5.

    Args:
        step (float): Distance of neighbours; 0.5 must be a multiple of it.

    Raises:
        ValueError: If the step is none.

    Example:
        >>> threshold_grid(0.25)
        [0.25, 0.5, 0.75]
    """
    parts = round(1 / step) if 0.0001 <= step <= DEFAULT else 0
    if not parts or abs(parts * step - 1) > 1e-9 or parts % 2:
        raise ValueError(f'The step between thresholds must divide 0.5, such as 0.01 or 0.05, got {step:g}.')
    return [place / parts for place in range(1, parts)]


def log_odds(threshold: float) -> float:
    """Return the margin (foreground minus background logit) above which a pixel is foreground."""
    return log(threshold / (1 - threshold))


class ThresholdCounts:
    """Sum the intersections and unions of every class at every threshold over episodes.

    The state is integers of shape (C, T, 2), for any number of episodes and pixels; sums of several processes
    add up. At each threshold of the grid the mIoU is exactly that of a test with this threshold.

    Letters: C classes, T thresholds, B episodes.

    Args:
        class_ids (Sequence[int]): The C classes of the mean; one that no episode shows counts as 0, as in a test.
        thresholds (Sequence[float]): Ascending, each in (0, 1).
        ignore_index (int): Target label that counts nowhere.
    """

    def __init__(self, class_ids: Sequence[int], thresholds: Sequence[float], ignore_index: int = 255) -> None:
        self.rows = {int(class_id): row for row, class_id in enumerate(class_ids)}
        self.thresholds = [float(threshold) for threshold in thresholds]
        self.ignore_index = ignore_index
        self.sums = torch.zeros(len(self.rows), len(self.thresholds), 2, dtype=torch.int64)
        self.episodes = torch.zeros(len(self.rows), dtype=torch.int64)

    def add_margins(self, margins: Tensor, targets: Tensor, class_ids: Sequence[int]) -> None:
        """Count 1-way episodes whose pixels are foreground where the margin exceeds the threshold's log odds.

        Args:
            margins (Tensor): Foreground minus background logit at threshold 0.5, shape (B, H, W).
            targets (Tensor): 0, 1 or ``ignore_index``, shape (B, H, W).
            class_ids (Sequence[int]): Class of each episode.
        """
        edges = torch.tensor([log_odds(threshold) for threshold in self.thresholds], dtype=torch.float64)
        edges = edges.to(margins.device, margins.dtype)
        # A pixel is foreground at the first `passed` thresholds.
        passed = torch.bucketize(margins.contiguous(), edges)
        bins = len(self.thresholds) + 1
        for count, target, class_id in zip(passed, targets, class_ids):
            kept = target != self.ignore_index
            # From a histogram of `passed` to the number of pixels above each threshold.
            shown, hit = (count[pixels].bincount(minlength=bins).flip(0).cumsum(0).flip(0)[1:]
                          for pixels in (kept, target == 1))
            self._add(class_id, slice(None), hit, shown + (target == 1).sum() - hit)
            self.episodes[self.rows[int(class_id)]] += 1

    def add_predictions(self, place: int, predictions: Tensor, targets: Tensor,
                        class_ids: Sequence[Sequence[int]]) -> None:
        """Count N-way episodes at one threshold.

        Args:
            place (int): Index of the threshold.
            predictions (Tensor): Labels 0..N, shape (B, H, W).
            targets (Tensor): Labels 0..N or ``ignore_index``, shape (B, H, W).
            class_ids (Sequence[Sequence[int]]): The N classes of each episode.
        """
        for prediction, target, group in zip(predictions, targets, class_ids):
            kept = target != self.ignore_index
            for label, class_id in enumerate(group, start=1):
                shown, true = (prediction == label) & kept, target == label
                self._add(class_id, place, (shown & true).sum(), (shown | true).sum())
                self.episodes[self.rows[int(class_id)]] += place == 0

    def _add(self, class_id: int, places: slice | int, intersection: Tensor, union: Tensor) -> None:
        self.sums[self.rows[int(class_id)], places] += torch.stack((intersection, union), dim=-1).cpu()

    def merge(self) -> None:
        """Add up the sums of all processes, in every process."""
        all_reduce(self.sums)
        all_reduce(self.episodes)

    def miou(self) -> list[float]:
        """Compute the mIoU in per cent at each threshold, by the official accumulation (see :func:`compute_scores`).

        Raises:
            ValueError: If no episode was counted.
        """
        if not self.episodes.any():
            raise ValueError('No episode was evaluated.')
        intersection, union = self.sums.numpy().astype(np.float64).transpose(2, 0, 1)
        return (100 * (intersection / np.maximum(union, 1)).mean(0)).tolist()


def best_threshold(thresholds: Sequence[float], curves: Sequence[Sequence[float]]) -> int:
    """Find the threshold with the largest mean over curves; among equals the nearest to 0.5, then the lower.

    Args:
        thresholds (Sequence[float]): T thresholds.
        curves (Sequence[Sequence[float]]): mIoU at each threshold, one curve or more.
    """
    means = np.mean(np.asarray(curves, np.float64), axis=0)
    return min(range(len(thresholds)), key=lambda i: (-means[i], abs(thresholds[i] - DEFAULT), thresholds[i]))

"""The arithmetic of episodic segmentation scores: integer counts per episode, sums over episodes, then ratios.

The score of a class is the ratio of two sums over its episodes, not the mean of per-episode ratios (the accumulation of
HSNet, ICCV 2021, and DCAMA, ECCV 2022). Sums of counts merge across processes by addition, in any order.
"""
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import numpy as np
from torch import Tensor

BACKGROUND, FOREGROUND = 0, 1


def episode_counts(pred: Tensor, target: Tensor, num_ways: int, ignore_index: int = 255) -> dict[str, Any]:
    """Count intersections and unions of one N-way episode, on the device of the tensors.

    The n-th class is compared as prediction == n with target == n. Foreground is any of the N classes. Pixels whose
    target is ``ignore_index`` count nowhere.

    Args:
        pred (Tensor): Predicted labels 0..N, shape (H, W), integer.
        target (Tensor): True labels 0..N or ``ignore_index``, shape (H, W), integer.
        num_ways (int): N.
        ignore_index (int): Label of the pixels to leave out.

    Returns:
        dict: ``pixels`` (int), the pixels counted; ``intersection`` and ``union`` (lists of N ints), of each class;
        ``foreground`` (list of 2 ints), intersection and union of any class.

    Raises:
        ValueError: If the shapes differ or a label lies outside 0..N.
    """
    if pred.shape != target.shape:
        raise ValueError(f'Prediction and target must have the same size, got {tuple(pred.shape)} and '
                         f'{tuple(target.shape)}.')
    kept = target != ignore_index
    pred, target = pred[kept].long(), target[kept].long()
    labels = num_ways + 1
    _check_labels(pred, labels, 'predicted')
    _check_labels(target, labels, 'target')
    # Joint histogram of true and predicted labels
    joint = (target * labels + pred).bincount(minlength=labels**2).view(labels, labels).cpu()
    intersection = joint.diagonal()
    union = joint.sum(0) + joint.sum(1) - intersection
    pixels = int(joint.sum())
    return dict(
        pixels=pixels,
        intersection=intersection[1:].tolist(),
        union=union[1:].tolist(),
        foreground=[int(joint[1:, 1:].sum()), pixels - int(joint[0, 0])])


@dataclass(frozen=True)
class CountTable:
    """Hold the counts of E episodes over the C classes of a fold; the last axis is (intersection, union).

    Attributes:
        classes (np.ndarray): Shape (E, C, 2, 2), axis 2 is (background, foreground). Background of a class is every
            other label; rows of classes that an episode does not contain are zero.
        overall (np.ndarray): Shape (E, 2, 2), axis 1 is (background, foreground), where foreground is any class.
        episodes (np.ndarray): Number of episodes of each class, shape (C,).
    """
    classes: np.ndarray
    overall: np.ndarray
    episodes: np.ndarray


@dataclass(frozen=True)
class Scores:
    """Hold the scores in per cent, 0 to 100, higher is better.

    Attributes:
        miou (float): Mean foreground IoU over the fold's classes.
        fb_iou (float): Mean of background and foreground IoU over all episodes.
        class_iou (np.ndarray): Shape (C, 2): background and foreground IoU of each class.
    """
    miou: float
    fb_iou: float
    class_iou: np.ndarray


def tabulate_counts(entries: Sequence[Mapping[str, Any]], class_ids: Sequence[int]) -> CountTable:
    """Arrange the counts of episodes by class.

    Args:
        entries (Sequence[Mapping]): Results of :func:`episode_counts`, each with ``class_ids`` (N ints) added.
        class_ids (Sequence[int]): The C classes of the fold.

    Returns:
        CountTable: Counts as float64 (exact below 2**53), ready for matrix products.

    Raises:
        ValueError: If there is no episode, or one has a class outside the fold.
    """
    if not entries:
        raise ValueError('No episode was evaluated.')
    column = {int(class_id): index for index, class_id in enumerate(class_ids)}
    asked = [class_id for entry in entries for class_id in entry['class_ids']]
    outside = sorted(set(asked) - set(column))
    if outside:
        raise ValueError(f'Episodes ask for the classes {outside}, which are not among the classes of this fold: '
                         f'{sorted(column)}.')
    # One row per episode and class
    rows = np.repeat(np.arange(len(entries)), [len(entry['class_ids']) for entry in entries])
    cols = np.array([column[class_id] for class_id in asked])
    pixels = np.array([entry['pixels'] for entry in entries])
    intersection, union = (np.concatenate([entry[key] for entry in entries]) for key in ('intersection', 'union'))

    # Fill the table
    classes = np.zeros((len(entries), len(column), 2, 2))
    classes[rows, cols] = _both_sides(intersection, union, pixels[rows])
    foreground = np.array([entry['foreground'] for entry in entries])
    overall = _both_sides(foreground[:, 0], foreground[:, 1], pixels).astype(np.float64)
    return CountTable(classes, overall, np.bincount(cols, minlength=len(column)))


def compute_scores(table: CountTable) -> Scores:
    """Compute mIoU and FB-IoU by the official accumulation.

    mIoU = 100 mean_k I_k / max(U_k, 1) over all classes of the fold: a class without episodes, or with nothing to
    count, counts as 0. FB-IoU = 100 mean_c (sum_k I_kc) / max(sum_k U_kc, 1), c over background and foreground.

    Args:
        table (CountTable): Counts of the episodes.

    Returns:
        Scores: The scores in per cent.
    """
    class_iou = 100 * _ratio(table.classes.sum(0))
    fb_iou = 100 * _ratio(table.overall.sum(0)).mean()
    return Scores(float(class_iou[:, FOREGROUND].mean()), float(fb_iou), class_iou)


def bootstrap_intervals(table: CountTable,
                        num_replicates: int = 1000,
                        confidence: float = 0.95,
                        seed: int = 0) -> dict[str, tuple[float, float]]:
    """Compute percentile bootstrap intervals of mIoU and FB-IoU over episodes.

    A replicate draws E episodes of the run with replacement and is scored like the run. It estimates how much the
    figures vary with other episodes of the same kind, not with another training. A class of which a replicate drew no
    episode is left out of that replicate's mean; a class absent from the run counts as 0 in every replicate.

    Args:
        table (CountTable): Counts of E episodes.
        num_replicates (int): Number of replicates.
        confidence (float): Probability that the interval covers, in (0, 1).
        seed (int): Seed of the replicates.

    Returns:
        dict[str, tuple[float, float]]: Low and high end, in per cent, of ``mIoU`` and ``FB-IoU``.
    """
    num_episodes, num_classes = table.classes.shape[:2]
    uniform = np.full(num_episodes, 1 / num_episodes)
    draws = np.random.default_rng(seed).multinomial(num_episodes, uniform, num_replicates).astype(np.float64)
    # mIoU of each replicate
    foreground = table.classes[:, :, FOREGROUND].reshape(num_episodes, -1)
    class_sums = (draws @ foreground).reshape(num_replicates, num_classes, 2)
    missed = (class_sums[..., 1] == 0) & (foreground.sum(0).reshape(num_classes, 2)[:, 1] > 0)
    miou = _ratio(class_sums).sum(1) / np.maximum(num_classes - missed.sum(1), 1)
    # FB-IoU of each replicate
    fb_iou = _ratio((draws @ table.overall.reshape(num_episodes, -1)).reshape(num_replicates, 2, 2)).mean(1)
    ends = [50 * (1 - confidence), 50 * (1 + confidence)]
    return {
        name: tuple(float(end) for end in np.percentile(100 * values, ends))
        for name, values in (('mIoU', miou), ('FB-IoU', fb_iou))
    }


def _check_labels(labels: Tensor, num_labels: int, which: str) -> None:
    if labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= num_labels):
        raise ValueError(f'The {which} labels must lie in 0..{num_labels - 1}, got {int(labels.min())} to '
                         f'{int(labels.max())}.')


def _both_sides(intersection: np.ndarray, union: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Add the background: pixels outside a union are its intersection. Shape (n,) each to (n, 2, 2)."""
    background = np.stack([pixels - union, pixels - intersection], -1)
    return np.stack([background, np.stack([intersection, union], -1)], 1)


def _ratio(counts: np.ndarray) -> np.ndarray:
    return counts[..., 0] / np.maximum(counts[..., 1], 1)

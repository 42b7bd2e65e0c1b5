"""Arithmetic of attribution metrics: rankings, steps, scores of a segmentation, areas, intervals.

Plain tensors and numbers; no model, no state. All scores are fractions.
"""
from math import ceil, nan
from typing import Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from ..functional import episode_counts


def rank_pixels(attribution: Tensor) -> Tensor:
    """Rank every pixel in the descending order of its attribution, over all images together.

    Args:
        attribution (Tensor): Any shape; flattened in raster order (image, row, column). Equal values keep that order.

    Returns:
        Tensor: Shape of ``attribution``, int64: 0 for the largest value.
    """
    order = attribution.flatten().argsort(descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks.view_as(attribution)


def count_boundaries(num_pixels: int, num_steps: int, percentage: Optional[float] = None) -> list[int]:
    """List the numbers of changed pixels in equal steps: ``budget * i // num_steps`` for i = 0 to ``num_steps``.

    Args:
        num_pixels (int): Pixels in all, P.
        num_steps (int): Number of steps.
        percentage (float, optional): The budget as a share of P in (0, 1], rounded down. Defaults to all of P.

    Raises:
        ValueError: If the budget is no pixel: nothing would change in any state.
    """
    budget = num_pixels if percentage is None else int(num_pixels * percentage)
    if budget < 1:
        raise ValueError(f'{100 * percentage:g} % of {num_pixels} support pixels is less than one: no state would '
                         'differ from the first. Ask for a larger percentage.')
    return [budget * i // num_steps for i in range(num_steps + 1)]


def stride_boundaries(num_pixels: int, step: int) -> list[int]:
    """List the numbers of changed pixels: 0, step, 2 step, ..., P; the last step may be shorter."""
    return [*range(0, num_pixels, step), num_pixels]


def threshold_boundaries(values: Tensor, threshold_step: float, skip_top: bool = False) -> list[int]:
    """List the numbers of changed pixels when a threshold on the attribution is lowered from 1 to 0.

    Boundary i counts the values that reach 1 - i t: from 0 pixels (i = 0) to all.

    Args:
        values (Tensor): Attribution in [0, 1], any shape.
        threshold_step (float): t in (0, 1).
        skip_top (bool): The rule of the AffEx reference implementation. Its thresholds are the first int(1 / t) + 1 of
            ``torch.arange(0, 1 + t, t)`` from above, and its first boundary counts too: a state changes the pixels
            *between* the first boundary and its own, so that the top pixels (those of value 1, if 1 is a multiple
            of t) never change.

    Raises:
        ValueError: If a value lies outside [0, 1].
    """
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise ValueError('threshold_step needs an attribution between 0 and 1 (min-max scaled over the shots), got '
                         f'{low:.4g} to {high:.4g}. Use num_steps, or an explainer that scales its maps.')
    if skip_top:
        edges = torch.arange(0, 1 + threshold_step, threshold_step).flip(0)[:int(1 / threshold_step) + 1]
        return [int((values >= edge).sum()) for edge in edges.to(values.device)]
    # The tolerance counts 1 / 0.1 as ten steps.
    num_steps = ceil(1 / threshold_step - 1e-9)
    edges = [max(0., 1 - i * threshold_step) for i in range(1, num_steps)] + [0.]
    return [0, *(int((values >= edge - 1e-7).sum()) for edge in edges)]


def region_confidence(logits: Tensor, region: Tensor) -> Tensor:
    """Average the probability of every class in every region.

    Args:
        logits (Tensor): Raw logits, shape (N+1, h, w).
        region (Tensor): Boolean, shape (R, h, w).

    Returns:
        Tensor: Softmax over the channels, averaged over the pixels of each region, shape (R, N+1); NaN for an empty
        region.
    """
    inside = region.flatten(1).to(logits.dtype)
    return inside @ logits.softmax(0).flatten(1).t() / inside.sum(1, keepdim=True)


def class_iou(pred: Tensor, target: Tensor, num_ways: int, ignore_index: int = 255) -> list[float]:
    """Compute the IoU of the classes 1 to N in one image.

    Args:
        pred (Tensor): Predicted labels, shape (h, w).
        target (Tensor): True labels or ``ignore_index``, shape (h, w).
        num_ways (int): N.
        ignore_index (int): Label of the pixels to leave out.

    Returns:
        list[float]: N fractions; 0 for a class that neither has (the rule of TorchMetrics' Jaccard index).
    """
    counts = episode_counts(pred, target, num_ways, ignore_index)
    return [i / max(u, 1) for i, u in zip(counts['intersection'], counts['union'])]


def area_under_curve(scores: Sequence[float]) -> float:
    """Compute the area under equally spaced scores by the trapezoidal rule, on a unit interval.

    Raises:
        ValueError: If there are fewer than two scores: there is no area under a point.
    """
    if len(scores) < 2:
        raise ValueError(f'An area needs at least two scored states, got {len(scores)}.')
    return float((sum(scores) - (scores[0] + scores[-1]) / 2) / (len(scores) - 1))


def mean_loss(scores: Sequence[float]) -> float:
    """Compute the last score minus an earlier one, averaged over all earlier ones (usually there is one).

    Raises:
        ValueError: If there are fewer than two scores.
    """
    if len(scores) < 2:
        raise ValueError(f'A loss compares the last state with earlier ones, got {len(scores)} scored states.')
    return float(scores[-1] - sum(scores[:-1]) / (len(scores) - 1))


def scale_to_unit(values: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale a whole tensor by minimum and maximum; a constant becomes 0."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low + eps)


def mean_and_interval(values: Sequence[float],
                      num_replicates: int = 1000,
                      confidence: float = 0.95,
                      seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Compute the mean over episodes and its percentile bootstrap interval; NaN is ignored.

    A replicate draws E episodes of the run with replacement and averages those of them that have a value. The draws
    depend on E and the seed alone, so all metrics and explainers of a run see the same replicates.

    Args:
        values (Sequence[float]): One per episode, E >= 1.
        num_replicates (int): Number of replicates; 0 gives a NaN interval.
        confidence (float): Probability that the interval covers, in (0, 1).
        seed (int): Seed of the replicates.

    Returns:
        tuple: The mean, and low and high end of the interval; all NaN if every value is.
    """
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    if not known.any():
        return nan, (nan, nan)
    mean = float(values[known].mean())
    if not num_replicates:
        return mean, (nan, nan)
    draws = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), num_replicates)
    drawn = draws @ known
    means = (draws @ np.where(known, values, 0))[drawn > 0] / drawn[drawn > 0]
    low, high = np.percentile(means, [50 * (1 - confidence), 50 * (1 + confidence)])
    return mean, (float(low), float(high))

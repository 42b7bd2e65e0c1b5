"""Infidelity of attributions over support images, in the form of the AffEx reference implementation."""
from math import nan
from typing import Any, Literal, Sequence

import numpy as np
import torch
from torch import Tensor

from mmfss.registry import METRICS
from mmfss.structures import Episode
from .attribution_metric import AttributionMetric, Measurement, check_arguments
from .functional import scale_to_unit
from .perturbation_path import digest
from .perturbed_episode import PerturbedEpisode


@METRICS.register_module()
class Infidelity(AttributionMetric):
    """Measure how well the attribution predicts the change of logits when support superpixels are blanked.

    A perturbation sets the colours of random superpixels of every support to 0; masks stay. With I = x - x' the change
    of the support images and phi the attribution, repeated over the three channels, each min-max scaled over all
    supports: a = mean(phi I), and b is the mean over the N+1 channels and the pixels of the region of
    ``|logit(x) - logit(x')|``. The value is the mean of (a - b)^2 over the perturbations: a plain number (no per
    cent) of 0 or more, lower is better.

    **This is not the infidelity of Yeh et al. (NeurIPS 2019)**, which takes the *sum* over inputs of phi I, *signed*,
    neither scaled, against the *signed* change of *one* output. The reference scales both factors and takes the
    absolute change, so a is the overlap of attribution and perturbation, and the value depends on the scale of the
    model's logits. Compare explainers on one model with it, not models. No figure of it has been published.

    Of N ways, class n's map stands at its own supports and 0 at the others, its region is R_n, and the values of the
    classes are averaged.

    Args:
        num_perturbations (int): Defaults to 10 (the reference also uses 50).
        num_segments (int): Number of SLIC superpixels of each support. Defaults to 80 (the reference also uses 160).
        share (float): Superpixels to blank, as a share of those drawn from, in (0, 1], at least one. Defaults to 0.1.
        compactness (float): Of SLIC. Defaults to 10.
        drawn_from (str): ``'existing'``: superpixels are drawn among those that SLIC found; ``'requested'``, like the
            reference: among ``num_segments`` numbers, some of which may not exist. Defaults to ``'existing'``.
        normalize (bool): Multiply a by the factor that makes the value smallest (Yeh et al., section 2.2), which takes
            the scale of the logits out of the comparison. Defaults to False.
        seed (int): Of the draws, which are the same for every attribution and every episode. Defaults to 0.
        name (str): Defaults to ``'Infidelity'``.
        **kwargs: Arguments of :class:`AttributionMetric`.

    Raises:
        ValueError: If an argument is out of its range.
        ImportError: In :meth:`measure`, if scikit-image is missing.
    """

    higher_is_better = False
    percent = False

    def __init__(self,
                 num_perturbations: int = 10,
                 num_segments: int = 80,
                 share: float = 0.1,
                 compactness: float = 10.,
                 drawn_from: Literal['existing', 'requested'] = 'existing',
                 normalize: bool = False,
                 seed: int = 0,
                 name: str = 'Infidelity',
                 **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        for argument, count in (('num_perturbations', num_perturbations), ('num_segments', num_segments)):
            if count < 1:
                raise ValueError(f'{argument} must be at least 1, got {count}.')
        if not 0 < share <= 1:
            raise ValueError(f'share must lie in (0, 1], got {share}.')
        if drawn_from not in ('existing', 'requested'):
            raise ValueError(f"drawn_from must be 'existing' or 'requested', got {drawn_from!r}.")
        self.num_perturbations = num_perturbations
        self.num_segments = num_segments
        self.share = share
        self.compactness = compactness
        self.drawn_from = drawn_from
        self.normalize = normalize
        self.seed = seed

    def measure(self, subject: PerturbedEpisode, attribution: Tensor, region: Tensor) -> Measurement:
        attribution, region = check_arguments(subject, attribution, region)
        if not attribution.isfinite().all():
            return Measurement(nan)
        blanked = self._blanked(subject)
        changes = self._changes(subject, blanked, region)
        values = []
        for way in range(subject.episode.num_ways):
            placed = torch.zeros_like(attribution)
            placed[way] = attribution[way]
            overlaps = [overlap(placed, subject.episode.support * pixels[:, :, None]) for pixels in blanked]
            values.append(infidelity(overlaps, changes[way], self.normalize))
        return Measurement(sum(values) / len(values))

    def _blanked(self, subject: PerturbedEpisode) -> Tensor:
        """Select the pixels that each of T perturbations sets to 0, (T, N, K, H, W), equal for all explainers."""
        key = ('blanked', self.num_perturbations, self.num_segments, self.share, self.compactness, self.drawn_from,
               self.seed)
        if key not in subject.memo:
            subject.memo[key] = self._draw(subject.episode)
        return subject.memo[key]

    def _changes(self, subject: PerturbedEpisode, blanked: Tensor, region: Tensor) -> list[list[float]]:
        """Compute b of each class and perturbation, once per episode."""
        key = ('changes', digest(blanked), digest(region))
        if key not in subject.memo:
            episode = subject.episode
            states = ((episode.support.masked_fill(pixels[:, :, None], 0), episode.masks) for pixels in blanked)
            changes = [region_change(logits, subject.original_logits, region) for logits in subject.scan(states)]
            subject.memo[key] = torch.stack(changes, dim=1).tolist()
        return subject.memo[key]

    def _draw(self, episode: Episode) -> Tensor:
        rng = np.random.default_rng(self.seed)
        segments = [superpixels(image, self.num_segments, self.compactness) for image in episode.support.flatten(0, 1)]
        pools = [np.arange(self.num_segments) if self.drawn_from == 'requested' else np.unique(s) for s in segments]
        numbers = [max(1, int(self.share * len(pool))) for pool in pools]
        perturbations = [
            torch.from_numpy(np.isin(labels, rng.choice(pool, number, replace=False)))
            for _ in range(self.num_perturbations) for labels, pool, number in zip(segments, pools, numbers)
        ]
        shape = (self.num_perturbations, *episode.masks.shape)
        return torch.stack(perturbations).view(shape).to(episode.support.device)


def superpixels(image: Tensor, num_segments: int, compactness: float) -> np.ndarray:
    """Compute SLIC superpixels of a normalized image (3, H, W): labels from 0, shape (H, W).

    Raises:
        ImportError: If scikit-image is missing.
    """
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise ImportError('Infidelity cuts the supports into superpixels with scikit-image, which is not installed: '
                          'pip install "mmfss[explain]"') from error
    pixels = image.permute(1, 2, 0).cpu().double().numpy()
    return slic(pixels, n_segments=num_segments, compactness=compactness, start_label=0, channel_axis=-1)


def overlap(attribution: Tensor, change: Tensor) -> float:
    """Compute a: mean product of attribution (N, K, H, W) and image change (N, K, 3, H, W), both min-max scaled."""
    return float((scale_to_unit(attribution)[:, :, None] * scale_to_unit(change)).mean())


def region_change(logits: Tensor, original: Tensor, region: Tensor) -> Tensor:
    """Compute b: mean absolute difference of logits (C, h, w) over channels and each region (R, h, w): (R,).

    NaN for an empty region.
    """
    inside = region.flatten(1).to(logits.dtype)
    return inside @ (logits - original).abs().mean(0).flatten() / inside.sum(1)


def infidelity(overlaps: Sequence[float], changes: Sequence[float], normalize: bool = False) -> float:
    """Average (a - b)^2, or with ``normalize`` (beta a - b)^2 with the best beta, mean(a b) / mean(a^2)."""
    a, b = np.asarray(overlaps), np.asarray(changes)
    if normalize:
        square = (a * a).mean()
        a = a * ((a * b).mean() / square if square > 0 else 0.)
    return float(((a - b)**2).mean())

"""Explanation of one episode with several explainers, and measurement of each map."""
from contextlib import contextmanager
from typing import Any, Hashable, Iterator, Mapping, Optional, Sequence

import numpy as np
from torch import Tensor

from mmfss.evaluation.attribution import AttributionMetric, PerturbedEpisode
from mmfss.evaluation.functional import episode_counts
from mmfss.explainers import EmptyRegionError, Explainer, select_region
from mmfss.explainers.base import Explanation, check_masks
from mmfss.explainers.contributions import Contributions
from mmfss.explainers.region import Region
from mmfss.models import BaseFewShotSegmentor
from mmfss.structures import Episode
from mmfss.utils.config_options import ConfigError
from mmfss.utils.random_state import preserve_random_state, seed_all
from mmfss.utils.timing import timed
from ..run_folder import Arrays, Record

# The part of the metainfo of an episode that a reader of a record needs.
_INFO = ('class_ids', 'class_names', 'query_name', 'support_names', 'img_path', 'support_paths', 'upright')


class EpisodeStudy:
    """Explain an episode with every explainer and the same region, and measure the maps with every metric.

    What is drawn at random depends on the seed and the episode's index alone, and is the same for every explainer.
    Variants of an explainer share their contributions, and metrics predict the states of all maps in common batches.
    ``seconds`` of an explainer include what it shares: they are its cost alone.

    Args:
        explainers (Mapping[str, Explainer]): Explainers by name.
        metrics (Sequence[AttributionMetric]): Metrics.
        region (str): What is explained, see :func:`select_region`.
        seed (int): Seed of everything random.
        dtype (str): Of the maps in the result.
        batch_size (int): Perturbed support images encoded at a time, at least those of one state.
    """

    def __init__(self,
                 explainers: Mapping[str, Explainer],
                 metrics: Sequence[AttributionMetric],
                 region: str = 'prediction',
                 seed: int = 0,
                 dtype: str = 'float16',
                 batch_size: int = 8) -> None:
        self.explainers, self.metrics, self.region = explainers, metrics, region
        self.seed, self.dtype, self.batch_size = seed, dtype, batch_size

    def __call__(self, model: BaseFewShotSegmentor, index: int, episode: Episode) -> tuple[Record, Arrays]:
        """Study one episode.

        Args:
            model (BaseFewShotSegmentor): The model, in eval mode.
            index (int): Index of the episode.
            episode (Episode): The episode, on the model's device.

        Returns:
            tuple[dict, dict]: The record and the arrays, see :class:`ExplanationLoop`.

        Raises:
            ConfigError: If an explainer cannot serve this model or this episode; names both.
            RuntimeError: If an explainer or a metric fails otherwise.
        """
        subject = PerturbedEpisode(model, episode, batch_size=self.batch_size)
        logits, seconds = timed(lambda: subject.original_logits, episode.query.device)
        labels = logits.argmax(0)
        record = dict(
            index=index, info=_plain_info(episode), empty=False, reason=None, iou=_foreground_iou(labels, episode),
            prediction_seconds=seconds, seconds={}, scores={}, contributions={}, neutral={}, forms={})
        arrays = dict(_bytes('prediction', labels), **_bytes('support_masks', episode.masks),
                      **_bytes('target', episode.target))
        region, reason = self._region(model, episode, logits)
        if region is None:
            record.update(empty=True, reason=reason)
            return record, arrays
        arrays.update(_bytes('region', region))
        with preserve_random_state():
            try:
                maps = self._explain(model, episode, region, record)
            except EmptyRegionError as error:  # at an explainer's own size nothing may be left of a small region
                record.update(empty=True, reason=str(error), seconds={}, contributions={}, neutral={}, forms={})
                return record, arrays
            record['scores'] = self._measure(subject, maps, region, record)
        arrays.update((name, attribution.cpu().numpy().astype(self.dtype)) for name, attribution in maps.items())
        return record, arrays

    def _region(self, model: BaseFewShotSegmentor, episode: Episode,
                logits: Tensor) -> tuple[Optional[Tensor], Optional[str]]:
        """Select the region (N, h, w), or return None and why this episode cannot be explained."""
        try:
            check_masks(episode)
        except ValueError as error:
            return None, str(error)
        try:
            return select_region(self.region, model, episode, logits), None
        except EmptyRegionError as error:
            return None, str(error)

    def _explain(self, model: BaseFewShotSegmentor, episode: Episode, region: Tensor,
                 record: Record) -> dict[str, Tensor]:
        """Compute the maps of all explainers; add seconds and contributions to the record."""
        maps: dict[str, Tensor] = {}
        shared: dict[Hashable, tuple[Contributions, float]] = {}
        for name, explainer in self.explainers.items():
            with self._named(f'The explainer "{name}"', record):
                wanted = self.region if explainer.selects_region else region
                explanation, record['seconds'][name] = _explained(explainer, model, episode, wanted, shared)
                maps[name] = explanation.attribution
                if explanation.contributions is not None:
                    record['contributions'][name] = explanation.contributions.summary()
                if explanation.form is not None:
                    record['forms'][name] = explanation.form
                if explanation.neutral is not None:
                    record['neutral'][name] = explanation.neutral.tolist()
                _check_map(maps[name], episode)
        return maps

    def _measure(self, subject: PerturbedEpisode, maps: Mapping[str, Tensor], region: Tensor,
                 record: Record) -> dict[str, dict[str, dict]]:
        scores: dict[str, dict[str, dict]] = {}
        for metric in self.metrics:
            scores[metric.name] = {}
            with self._named(f'Measuring {metric.name}', record):
                metric.prepare(subject, maps.values(), region)
            for name, attribution in maps.items():
                with self._named(f'Measuring {metric.name} of "{name}"', record):
                    scores[metric.name][name] = metric.measure(subject, attribution, region).to_record()
        return scores

    @contextmanager
    def _named(self, what: str, record: Record) -> Iterator[None]:
        """Seed the random numbers, and add method and episode to error messages."""
        seed_all(self.seed, record['index'])
        try:
            yield
        except EmptyRegionError:
            raise
        except Exception as error:
            info = record['info']
            episode = f'episode {record["index"]} ({", ".join(info.get("class_names", []))}; query ' \
                      f'"{info.get("query_name")}")'
            # An error that a user can correct is told in one line, see `plain_errors`; a defect keeps its traceback.
            kind = ConfigError if isinstance(error, (ValueError, ImportError)) else RuntimeError
            raise kind(f'{what} failed on {episode}: {type(error).__name__}: {error}') from error


def _explained(explainer: Explainer, model: BaseFewShotSegmentor, episode: Episode, region: Region,
               shared: dict[Hashable, tuple[Contributions, float]]) -> tuple[Explanation, float]:
    """Explain; contributions of an earlier variant are used again, and their seconds are counted again."""
    device, work = episode.query.device, explainer.shared_work
    if work is None:
        return timed(lambda: explainer.explain(model, episode, region), device)
    if work not in shared:
        shared[work] = timed(lambda: explainer.contributions(model, episode, region), device)
    contributions, before = shared[work]
    explanation, seconds = timed(lambda: explainer.explain_from(contributions, episode), device)
    return explanation, before + seconds


def _check_map(attribution: Tensor, episode: Episode) -> None:
    expected = tuple(episode.masks.shape)
    if tuple(attribution.shape) != expected:
        raise RuntimeError(f'it returned the shape {tuple(attribution.shape)} instead of (N, K, H, W) = {expected}.')
    if not attribution.isfinite().all():
        raise RuntimeError('it returned values that are not finite.')


def _foreground_iou(labels: Tensor, episode: Episode) -> Optional[float]:
    if episode.target is None:
        return None
    intersection, union = episode_counts(labels, episode.target, episode.num_ways)['foreground']
    return intersection / union if union else None


def _plain_info(episode: Episode) -> dict[str, Any]:
    info = episode.info or {}
    return {key: info[key] for key in _INFO if key in info}


def _bytes(name: str, values: Optional[Tensor]) -> Arrays:
    return {} if values is None else {name: values.cpu().numpy().astype(np.uint8)}

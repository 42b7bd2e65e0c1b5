"""Base class of metrics of attributions."""
from abc import abstractmethod
from dataclasses import dataclass
from math import isnan, nan
from typing import Any, Iterable, Optional, Sequence

from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from torch import Tensor

from .functional import mean_and_interval
from .perturbed_episode import PerturbedEpisode

Record = dict[str, Any]


@dataclass(frozen=True)
class Measurement:
    """Hold the value of a metric for one attribution.

    Attributes:
        value (float): The figure, a fraction unless the metric says otherwise; NaN if there is none.
        curve (list[float], optional): Scores of the single states, for a plot.
    """
    value: float
    curve: Optional[list[float]] = None

    def to_record(self) -> Record:
        """Return a dict for a JSON file; None stands for NaN."""
        curve = None if self.curve is None else [_none_if_nan(score) for score in self.curve]
        return dict(value=_none_if_nan(self.value), curve=curve)


class AttributionMetric(BaseMetric):
    """Score attributions episode by episode, and average the scores.

    The two halves may run at different times, so that an interrupted run resumes from its records:

    .. code-block:: python

        subject = PerturbedEpisode(model, episode)              # one per episode, for all metrics and explainers
        measurement = metric.measure(subject, attribution, region)
        record = dict(index=0, scores={metric.name: {'signed_affex': measurement.to_record()}})
        metric.process(None, [record])
        metric.evaluate(num_episodes)

    **Units.** :meth:`measure` returns fractions. :meth:`compute_metrics` reports per cent, like the papers' tables, for
    metrics whose :attr:`percent` is true, and plain numbers for the others.

    **NaN.** An episode has no value, NaN, if an attribution is not finite, or if something is averaged over a region
    that is empty, or if the model's logits are not finite in a scored state. Such episodes are left out of the mean and
    the interval, counted in ``num_nan``, and a warning says so. If no episode has a value the mean is NaN.

    **Several processes.** The state holds the numbers of each episode under its index. The result does not depend on
    the process, the order, or repetitions of an episode.

    Results, for each explainer: ``{explainer}/{name}``, the mean over episodes; ``{explainer}/{name}/interval``, low
    and high end of its 95 % percentile bootstrap interval over episodes; ``{explainer}/{name}/num_nan``.

    Args:
        name (str): Name in tables and results.
        num_replicates (int): Bootstrap replicates; 0 leaves the intervals out. Defaults to 1000.
        bootstrap_seed (int): Seed of the bootstrap. Defaults to 0.
        **kwargs: Arguments of :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: If the name is empty or the number of replicates negative.
    """

    # Empty rather than None: the keys carry no prefix, and MMEngine does not warn about it.
    default_prefix = ''

    higher_is_better: bool
    """Whether a larger value is better."""

    percent: bool = True
    """Whether values are fractions, to be reported in per cent."""

    def __init__(self, name: str, num_replicates: int = 1000, bootstrap_seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not name:
            raise ValueError('A metric needs a name.')
        if num_replicates < 0:
            raise ValueError(f'num_replicates must be 0 or more, got {num_replicates}.')
        self.name = name
        self.num_replicates = num_replicates
        self.bootstrap_seed = bootstrap_seed

    @abstractmethod
    def measure(self, subject: PerturbedEpisode, attribution: Tensor, region: Tensor) -> Measurement:
        """Score one attribution.

        Args:
            subject (PerturbedEpisode): The episode. Use one subject for all metrics and attributions of an episode: it
                remembers what they have in common.
            attribution (Tensor): Shape (N, K, H, W), the larger the more a support pixel speaks for the region.
            region (Tensor): The query region that was explained, boolean, shape (N, h, w).

        Returns:
            Measurement: A fraction, or NaN (see the class).

        Raises:
            ValueError: If the shapes are not those of the episode.
        """

    def prepare(self, subject: PerturbedEpisode, attributions: Iterable[Tensor], region: Tensor) -> None:
        """Compute together what :meth:`measure` will need of several attributions; the subject remembers it.

        Nothing by default. Arguments as :meth:`measure`.
        """

    def process(self, data_batch: Any, data_samples: Sequence[Record]) -> None:
        """Add the scores of episodes.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Each with ``index`` (int), the number of the episode, and ``scores``:
                ``{metric name: {explainer name: dict(value=float or None)}}``; None stands for NaN. An episode with
                ``empty=True``, in which there was nothing to explain, needs no scores and counts as NaN.

        Raises:
            KeyError: If an episode lacks this metric.
        """
        for record in data_samples:
            scores = record.get('scores', {}).get(self.name)
            if scores is None and not record.get('empty'):
                raise KeyError(f'The record of episode {record["index"]} has no metric "{self.name}", only '
                               f'{sorted(record.get("scores", {}))}.')
            values = {explainer: _value(score['value']) for explainer, score in (scores or {}).items()}
            self.results.append(dict(index=int(record['index']), values=values))

    def compute_metrics(self, results: list[Record]) -> dict[str, Any]:
        """Average over episodes.

        Args:
            results (list[dict]): Entries of all processes, in any order.

        Returns:
            dict: The results named in the class's description.

        Raises:
            ValueError: If there is no episode.
        """
        if not results:
            raise ValueError(f'No episode was scored by {self.name}.')
        # By index: neither order nor repetition matters.
        episodes = [values for _, values in sorted({entry['index']: entry['values'] for entry in results}.items())]
        metrics: dict[str, Any] = {}
        for explainer in dict.fromkeys(name for values in episodes for name in values):
            metrics.update(self._summary(explainer, [values.get(explainer, nan) for values in episodes]))
        return metrics

    def evaluate(self, size: int) -> dict[str, Any]:
        """Collect the episodes of all processes and average them; every process gets the result.

        Args:
            size (int): Not used: episodes are identified by their index, in whatever process they are.
        """
        gathered = all_gather_object(self.results)
        metrics = self.compute_metrics([entry for results in gathered for entry in results])
        self.results.clear()
        return {f'{self.prefix}/{key}' if self.prefix else key: value for key, value in metrics.items()}

    def _summary(self, explainer: str, values: list[float]) -> dict[str, Any]:
        key = f'{explainer}/{self.name}'
        scale = 100 if self.percent else 1
        num_nan = sum(map(isnan, values))
        if num_nan:
            MMLogger.get_current_instance().warning(
                f'{key}: {num_nan} of {len(values)} episodes have no value (NaN); the mean leaves them out.')
        mean, interval = mean_and_interval(values, self.num_replicates, seed=self.bootstrap_seed)
        summary = {key: scale * mean, f'{key}/num_nan': num_nan}
        if self.num_replicates:
            summary[f'{key}/interval'] = [scale * end for end in interval]
        return summary


def check_arguments(subject: PerturbedEpisode, attribution: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Check the shapes of :meth:`AttributionMetric.measure`; return float and bool on the episode's device."""
    episode = subject.episode
    if attribution.shape != episode.masks.shape:
        raise ValueError('An attribution must have the shape (N, K, H, W) of the support masks, '
                         f'{tuple(episode.masks.shape)}, got {tuple(attribution.shape)}.')
    if tuple(region.shape) != (episode.num_ways, *episode.query_size):
        raise ValueError(f'A region must have shape (N, h, w), {(episode.num_ways, *episode.query_size)}, got '
                         f'{tuple(region.shape)}.')
    device = episode.query.device
    return attribution.detach().to(device).float(), region.to(device).bool()


def _none_if_nan(value: float) -> Optional[float]:
    return None if isnan(value) else value


def _value(value: Optional[float]) -> float:
    return nan if value is None else float(value)

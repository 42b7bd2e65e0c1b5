"""Base class of causal metrics: change the supports along a ranking and score the predictions."""
from abc import abstractmethod
from dataclasses import dataclass
from math import nan
from typing import Any, Iterable, Iterator, Literal, Mapping, Optional, Sequence, Union

from torch import Tensor

from .attribution_metric import AttributionMetric, Measurement, check_arguments
from .functional import area_under_curve, mean_loss, region_confidence
from .perturbation_path import Mode, PerturbationPath, Span, StateScores, remember_states, score_states
from .perturbed_episode import PerturbedEpisode
from .substrates import Substrate

CHOICES = dict(mode=('ins', 'del'), measure=('miou', 'confidence'), channel=('class', 'top'), supports=('all', 'own'))


@dataclass(frozen=True)
class Snapshot:
    """Hold a state of a causal metric, for display.

    Attributes:
        num_changed (int): Changed support pixels.
        support (Tensor): Images of the state, (N, K, 3, H, W).
        masks (Tensor): Masks of the state, (N, K, H, W).
        logits (Tensor): What the model makes of this state, (N+1, h, w).
        score (float): Of the same state.
    """
    num_changed: int
    support: Tensor
    masks: Tensor
    logits: Tensor
    score: float


class CausalMetric(AttributionMetric):
    """Replace support pixels in the order of an attribution and track the prediction of the query.

    **Score of a state**, for class n with its region R_n:

    - ``'miou'``: IoU of class n with the query's labels, ignored pixels (255) left out; 0 if neither has the class.
    - ``'confidence'``: softmax over the N+1 channels, averaged over R_n, of one channel (``channel``).

    **Value** of the scores a_0 to a_m: the area under them (trapezoidal rule on a unit interval, in [0, 1]); with
    ``loss`` the difference a_m - a_i, in [-1, 1], where the last state has every pixel changed. The intended use of a
    loss has one earlier state; of several the mean difference is taken.

    **N ways.** For class n the pixels of its own K supports are ranked by its map and those of other classes by 0, and
    all N * K supports are changed; the scores are averaged over the classes. With ``supports='own'`` the supports of
    other classes stay as they are, and a share of pixels refers to K * H * W. For one way both are equal.

    Args:
        mode (str): ``'ins'``: start from the substrate and restore original pixels. ``'del'``: start from the original
            and remove pixels.
        measure (str): ``'miou'`` or ``'confidence'``.
        loss (bool): Return differences to the last state instead of an area.
        skip_empty (bool): Skip the first state, neither predicted nor scored (in both modes, like the reference):
            some models cannot handle an empty support mask.
        substrate (str | dict): See :class:`Substrate`.
        channel (str): Whose probability ``'confidence'`` follows: ``'class'``, class n's own, or ``'top'``, like the
            reference, that with the highest mean in R_n on the unchanged episode, which can be background. The two are
            the same for the region ``'prediction'``.
        supports (str): ``'all'`` or ``'own'``, see above.
        name (str): Name in tables and results.
        **kwargs: Arguments of :class:`AttributionMetric`.

    Raises:
        ValueError: If an argument is none of the allowed values.
    """

    def __init__(self,
                 mode: Mode,
                 measure: Literal['miou', 'confidence'],
                 loss: bool,
                 skip_empty: bool,
                 substrate: Union[str, Mapping[str, Any], Substrate],
                 channel: Literal['class', 'top'],
                 supports: Literal['all', 'own'],
                 name: str,
                 **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        given = dict(mode=mode, measure=measure, channel=channel, supports=supports)
        for argument, value in given.items():
            if value not in CHOICES[argument]:
                raise ValueError(f'{argument} must be {" or ".join(map(repr, CHOICES[argument]))}, got {value!r}.')
        self.mode = mode
        self.measured = measure
        self.loss = loss
        self.skip_empty = skip_empty
        self.substrate = Substrate.of(substrate)
        self.channel = channel
        self.supports = supports
        # A good insertion keeps the relevant pixels: a large area, a small loss. Deletion is the opposite.
        self.higher_is_better = (mode == 'ins') != loss

    @abstractmethod
    def ranked(self, attribution: Tensor) -> Tensor:
        """Return the values (N, K, H, W) that pixels are ranked by."""

    @abstractmethod
    def boundaries(self, values: Tensor) -> list[int]:
        """Return the number of changed pixels of each state, ascending; the first ranked pixels change first.

        Args:
            values (Tensor): What the pixels that may change are ranked by, shape (n, K, H, W).
        """

    def prepare(self, subject: PerturbedEpisode, attributions: Iterable[Tensor], region: Tensor) -> None:
        plans = []
        for attribution in attributions:
            attribution, region = self._checked(subject, attribution, region)
            if attribution.isfinite().all():
                plans += [self._plan(subject, attribution, way) for way in range(subject.episode.num_ways)]
        remember_states(subject, plans, region)

    def measure(self, subject: PerturbedEpisode, attribution: Tensor, region: Tensor) -> Measurement:
        attribution, region = self._checked(subject, attribution, region)
        if not attribution.isfinite().all():
            return Measurement(nan)
        curves = []
        for way in range(subject.episode.num_ways):
            path, spans = self._plan(subject, attribution, way)
            scores = score_states(subject, path, spans, region)
            channel = self._channel(subject, region, way)
            curves.append([self._read(score, way, channel) for score in scores])
        curve = [sum(scores) / len(scores) for scores in zip(*curves)]
        return Measurement(mean_loss(curve) if self.loss else area_under_curve(curve), curve)

    def replay(self,
               subject: PerturbedEpisode,
               attribution: Tensor,
               region: Tensor,
               way: int = 0,
               indices: Optional[Sequence[int]] = None) -> Iterator[Snapshot]:
        """Yield the scored states of a class again, one by one, for display.

        Args:
            subject (PerturbedEpisode): As in :meth:`measure`.
            attribution (Tensor): As in :meth:`measure`.
            region (Tensor): As in :meth:`measure`.
            way (int): The class, 0 is the first.
            indices (Sequence[int], optional): Which states, by their place in the curve; see
                :func:`spaced_indices`. Defaults to all.

        Yields:
            Snapshot: Supports, logits and score of one and the same state.
        """
        attribution, region = self._checked(subject, attribution, region)
        path, spans = self._plan(subject, attribution, way)
        channel = self._channel(subject, region, way)
        for start, stop in spans if indices is None else [spans[index] for index in indices]:
            support, masks = path.state((start, stop))
            logits = subject.logits(support[None], masks[None])[0]
            score = self._read(StateScores.of(logits, region, subject.episode), way, channel)
            yield Snapshot(stop - start, support, masks, logits, score)

    def _checked(self, subject: PerturbedEpisode, attribution: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
        if self.measured == 'miou' and subject.episode.target is None:
            raise ValueError(f"{self.name} compares predictions with the query's labels, and the episode has none: use "
                             "measure='confidence'.")
        return check_arguments(subject, attribution, region)

    def _plan(self, subject: PerturbedEpisode, attribution: Tensor, way: int) -> tuple[PerturbationPath, list[Span]]:
        """Return the path of a class and its scored states."""
        values = attribution.new_zeros(attribution.shape)
        values[way] = self.ranked(attribution)[way]
        path = PerturbationPath(subject.episode, values, self.mode, self.substrate,
                                way if self.supports == 'own' else None)
        boundaries = self.boundaries(path.values)
        if self.loss and path.num_pixels not in boundaries:
            boundaries = [*boundaries, path.num_pixels]
        spans = [(boundaries[0], boundary) for boundary in boundaries]
        return path, spans[1:] if self.skip_empty else spans

    def _channel(self, subject: PerturbedEpisode, region: Tensor, way: int) -> int:
        if self.channel == 'class':
            return way + 1
        return int(region_confidence(subject.original_logits, region[way:way + 1])[0].argmax())

    def _read(self, scores: StateScores, way: int, channel: int) -> float:
        return scores.iou[way] if self.measured == 'miou' else scores.confidence[way][channel]


def spaced_indices(num_states: int, count: int = 30, spacing: Literal['log', 'linear'] = 'log') -> list[int]:
    """Choose states to show: about ``count`` of ``num_states``, with the first and the last.

    Args:
        num_states (int): States in all.
        count (int): At most so many beside the first and the last.
        spacing (str): ``'log'``: denser where the top pixels change; ``'linear'``: evenly.

    Raises:
        ValueError: If the spacing is unknown.
    """
    if spacing not in ('log', 'linear'):
        raise ValueError(f"spacing must be 'log' or 'linear', got {spacing!r}.")
    last = num_states - 1
    if last < 1:
        return list(range(num_states))
    if spacing == 'linear':
        between = range(0, last, max(1, -(-last // count)))
    else:
        between = (round(last**(i / max(1, count - 1))) for i in range(count))
    return sorted({0, last, *between})

"""Insertion and deletion of support pixels: IAUC, DAUC and the losses at p per cent."""
from typing import Any, Literal, Mapping, Optional, Union

from torch import Tensor

from mmfss.registry import METRICS
from .attribution_metric import AttributionMetric, Measurement
from .causal_metric import CausalMetric
from .functional import count_boundaries, stride_boundaries, threshold_boundaries
from .perturbation_path import Mode
from .perturbed_episode import PerturbedEpisode
from .substrates import Substrate

DEFAULT_STEPS = 75


@METRICS.register_module()
class InsertionDeletion(CausalMetric):
    """Compute IAUC, DAUC, mIoULoss@p and variants: support pixels change in the order of the attribution.

    ============================  ===========================================================================
    name in the AffEx paper       arguments
    ============================  ===========================================================================
    IAUC, DAUC (mIoU)             ``mode='ins'`` or ``'del'``, ``skip_empty=True``
    IAUC, DAUC (confidence)       ``mode='ins'`` or ``'del'``, ``measure='confidence'``
    IAUC@1 %                      ``measure='confidence', num_steps=5, percentage=0.01``
    mIoULoss@1 %                  ``num_steps=1, percentage=0.01, loss=True, skip_empty=True``: mIoU with all support
                                  pixels minus mIoU with the best 1 % of them; lower is better, may be negative
    ============================  ===========================================================================

    Exactly one of ``num_steps``, ``step`` and ``threshold_step`` defines the states. See :class:`CausalMetric` for
    their scores. The scores of a state are kept with the episode, so that a second metric of the same states is free.

    Args:
        mode, measure, loss, skip_empty, substrate, channel, supports: See :class:`CausalMetric`.
        num_steps (int, optional): Number of equal steps. Defaults to 75 if no other stepping is given.
        percentage (float, optional): With ``num_steps``: stop at this share of the support pixels, in (0, 1]. The area
            is still that of a unit interval.
        step (int, optional): Pixels per step, up to all of them.
        threshold_step (float, optional): In (0, 1): score a state each time a threshold on the attribution, which
            must lie between 0 and 1, is lowered by this.
        skip_top (bool): With ``threshold_step``: the reference's rule, by which the top pixels never change, see
            :func:`threshold_boundaries`. Defaults to False.
        name (str, optional): Defaults to one made of the arguments, e.g. ``'IAUC'``, ``'mIoULoss@1%'``.
        **kwargs: Arguments of :class:`AttributionMetric`.

    Raises:
        ValueError: If the arguments do not fit together, or an area or a loss would have a single state.
    """

    def __init__(self,
                 mode: Mode = 'ins',
                 measure: Literal['miou', 'confidence'] = 'miou',
                 num_steps: Optional[int] = None,
                 percentage: Optional[float] = None,
                 step: Optional[int] = None,
                 threshold_step: Optional[float] = None,
                 skip_top: bool = False,
                 loss: bool = False,
                 skip_empty: bool = False,
                 substrate: Union[str, Mapping[str, Any], Substrate] = 'zero',
                 channel: Literal['class', 'top'] = 'class',
                 supports: Literal['all', 'own'] = 'all',
                 name: Optional[str] = None,
                 **kwargs: Any) -> None:
        if num_steps is None and step is None and threshold_step is None:
            num_steps = DEFAULT_STEPS
        super().__init__(mode, measure, loss, skip_empty, substrate, channel, supports,
                         default_name(mode, measure, loss, percentage) if name is None else name, **kwargs)
        _check_stepping(num_steps, percentage, step, threshold_step, skip_top)
        if num_steps == 1 and skip_empty and (not loss or percentage in (None, 1)):
            raise ValueError('num_steps=1 with skip_empty=True leaves a single state'
                             + (' (percentage must be below 1)' if loss else '') + ': there is nothing to compare.')
        self.num_steps = num_steps
        self.percentage = percentage
        self.step = step
        self.threshold_step = threshold_step
        self.skip_top = skip_top

    def ranked(self, attribution: Tensor) -> Tensor:
        return attribution

    def boundaries(self, values: Tensor) -> list[int]:
        if self.threshold_step is not None:
            return threshold_boundaries(values, self.threshold_step, self.skip_top)
        if self.step is not None:
            return stride_boundaries(values.numel(), self.step)
        return count_boundaries(values.numel(), self.num_steps, self.percentage)


@METRICS.register_module()
class InsertionDeletionGap(AttributionMetric):
    """Compute IAUC - DAUC, the paper's "Diff.": in [-1, 1], higher is better.

    Args:
        name (str): Defaults to ``'Diff'``.
        num_replicates, bootstrap_seed: See :class:`AttributionMetric`.
        **kwargs: Arguments of both :class:`InsertionDeletion`, without ``mode`` and ``loss``.
    """

    higher_is_better = True

    def __init__(self, name: str = 'Diff', num_replicates: int = 1000, bootstrap_seed: int = 0, **kwargs: Any) -> None:
        super().__init__(name, num_replicates, bootstrap_seed)
        forbidden = sorted({'mode', 'loss'} & kwargs.keys())
        if forbidden:
            raise ValueError(f'InsertionDeletionGap sets {forbidden[0]} itself.')
        self.insertion = InsertionDeletion('ins', **kwargs)
        self.deletion = InsertionDeletion('del', **kwargs)

    def measure(self, subject: PerturbedEpisode, attribution: Tensor, region: Tensor) -> Measurement:
        insertion, deletion = (
            metric.measure(subject, attribution, region) for metric in (self.insertion, self.deletion))
        return Measurement(insertion.value - deletion.value)


def default_name(mode: str, measure: str, loss: bool, percentage: Optional[float]) -> str:
    """Compose the name of a metric, e.g. ``'IAUC'``, ``'DAUC-confidence'``, ``'mIoULoss@1%'``."""
    if loss:
        base = ('mIoULoss' if measure == 'miou' else 'ConfidenceLoss') + ('-deletion' if mode == 'del' else '')
    else:
        base = ('IAUC' if mode == 'ins' else 'DAUC') + ('-confidence' if measure == 'confidence' else '')
    return base if percentage is None else f'{base}@{100 * percentage:g}%'


def _check_stepping(num_steps: Optional[int], percentage: Optional[float], step: Optional[int],
                    threshold_step: Optional[float], skip_top: bool) -> None:
    given = dict(num_steps=num_steps, step=step, threshold_step=threshold_step)
    given = {key: value for key, value in given.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f'Give one of num_steps, step and threshold_step, got {" and ".join(given)}.')
    for key, count in (('num_steps', num_steps), ('step', step)):
        if count is not None and count < 1:
            raise ValueError(f'{key} must be at least 1, got {count}.')
    if threshold_step is not None and not 0 < threshold_step < 1:
        raise ValueError(f'threshold_step must lie between 0 and 1, got {threshold_step}.')
    if percentage is not None and (num_steps is None or not 0 < percentage <= 1):
        raise ValueError('percentage is a share of the pixels in (0, 1] and goes with num_steps, got '
                         f'{percentage} with {", ".join(given)}.')
    if skip_top and threshold_step is None:
        raise ValueError('skip_top goes with threshold_step.')

"""Attribution metrics by the names that users type."""
import re
from typing import Any, Sequence

from mmfss.registry import METRICS
from .attribution_metric import AttributionMetric

_AREAS = dict(iauc='ins', dauc='del')
_FIXED: dict[str, dict[str, Any]] = {
    'diff': dict(type='InsertionDeletionGap', skip_empty=True),
    'diff_confidence': dict(type='InsertionDeletionGap', measure='confidence', name='Diff-confidence'),
    'infidelity': dict(type='Infidelity'),
    'readout_correlation': dict(type='TrueAgreement', kind='readout'),
    'removal_correlation': dict(type='TrueAgreement', kind='removal'),
}
for _name, _mode in _AREAS.items():
    for _prefix, _type in (('', 'InsertionDeletion'), ('support_', 'SupportRanking')):
        _FIXED[f'{_prefix}{_name}'] = dict(type=_type, mode=_mode, skip_empty=True)
        _FIXED[f'{_prefix}{_name}_confidence'] = dict(type=_type, mode=_mode, measure='confidence')
_LOSSES = dict(miou_loss='miou', confidence_loss='confidence')
_OVERLAPS = dict(readout_overlap='readout', removal_overlap='removal')

KNOWN_METRICS = (*sorted(_FIXED), *(f'{name}@P%' for name in (*_AREAS, *_LOSSES, *_OVERLAPS)))
"""Names that :func:`attribution_metric_config` knows; P is any percentage, e.g. ``miou_loss@1%``."""


def attribution_metric_config(name: str) -> dict[str, Any]:
    """Return the config of an attribution metric of the AffEx paper.

    ==================================================  ==============================================================
    ``iauc``, ``dauc``, ``diff``                        insertion, deletion and their difference, by mIoU, 75 steps,
                                                        first state skipped (the paper's main table)
    ``iauc_confidence``, ``dauc_confidence``,           the same by confidence, all states
    ``diff_confidence``
    ``iauc@P%``, ``dauc@P%``                            by confidence, 5 steps up to the best P per cent of the pixels
    ``miou_loss@P%``, ``confidence_loss@P%``            all support pixels against the best P per cent
    ``support_iauc`` ..., ``support_dauc_confidence``   whole supports, see :class:`SupportRanking`
    ``infidelity``                                      see :class:`Infidelity`
    ``readout_correlation``, ``removal_correlation``,   agreement with the exact contributions of support cells, of
    ``readout_overlap@P%``, ``removal_overlap@P%``      heads that know them, see :class:`TrueAgreement`
    ==================================================  ==============================================================

    Args:
        name (str): A name of :data:`KNOWN_METRICS` with a number for P, 0 < P <= 100 (losses: < 100), e.g.
            ``'miou_loss@1%'``.

    Returns:
        dict: With ``type``, for :data:`mmfss.registry.METRICS`.

    Raises:
        ValueError: If the name is unknown; the message lists the known ones.

    Example:
        >>> from mmfss.evaluation import attribution_metric_config
        >>> attribution_metric_config('iauc')
        {'type': 'InsertionDeletion', 'mode': 'ins', 'skip_empty': True}
    """
    if name in _FIXED:
        return dict(_FIXED[name])
    found = re.fullmatch(r'(\w+)@(\d+(?:\.\d+)?|\.\d+)%', name)
    # A metric with a percentage
    if found and found[1] in (*_AREAS, *_LOSSES, *_OVERLAPS):
        base, percentage = found[1], float(found[2]) / 100
        most = 0.999999 if base in _LOSSES else 1
        if not 0 < percentage <= most:
            raise ValueError(f'{name}: the percentage must be above 0 and {"at most" if most == 1 else "below"} 100.')
        if base in _OVERLAPS:
            return dict(type='TrueAgreement', kind=_OVERLAPS[base], top=percentage)
        common = dict(type='InsertionDeletion', percentage=percentage)
        if base in _LOSSES:
            return dict(common, measure=_LOSSES[base], num_steps=1, loss=True, skip_empty=True)
        return dict(common, mode=_AREAS[base], measure='confidence', num_steps=5, name=f'{base.upper()}@{found[2]}%')
    raise ValueError(f'Unknown attribution metric "{name}". Known: {", ".join(KNOWN_METRICS)} (P: any percentage, e.g. '
                     'miou_loss@1%).')


def build_attribution_metric(name: str, **options: Any) -> AttributionMetric:
    """Build an attribution metric by its name.

    Args:
        name (str): See :func:`attribution_metric_config`.
        **options: Replace or add arguments of the metric, e.g. ``num_steps=10``.

    Raises:
        ValueError: If the name is unknown or an option has a wrong value.

    Example:
        >>> import torch
        >>> from mmfss.evaluation import PerturbedEpisode, build_attribution_metric
        >>> from mmfss.models import FewShotSegmentor
        >>> from mmfss.structures import Episode
        >>> model = FewShotSegmentor(dict(type='mmpretrain.ResNet', depth=18), head=dict(type='DCAMAHead')).eval()
        >>> episode = Episode(torch.rand(3, 64, 64), torch.rand(1, 1, 3, 64, 64), torch.ones(1, 1, 64, 64))
        >>> metric = build_attribution_metric('iauc_confidence', num_steps=3)
        >>> attribution, region = torch.rand(1, 1, 64, 64), torch.ones(1, 64, 64).bool()
        >>> measurement = metric.measure(PerturbedEpisode(model, episode), attribution, region)
        >>> 0 <= measurement.value <= 1
        True
    """
    return METRICS.build(dict(attribution_metric_config(name), **options))


def metric_configs(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the configs of attribution metrics by name, each once; an unknown name raises a ValueError."""
    return [attribution_metric_config(name) for name in dict.fromkeys(names)]

"""Ends of parameter schedulers: with the training, unless a config says otherwise."""
import copy
import logging
from typing import Any, Optional, Union

from mmengine.logging import print_log
from mmengine.optim.scheduler.param_scheduler import (
    CosineAnnealingParamScheduler,
    LinearParamScheduler,
    OneCycleParamScheduler,
    PolyParamScheduler,
)

from mmfss.registry import PARAM_SCHEDULERS
from mmfss.utils.config_options import ConfigError

Schedulers = Union[None, dict, list]
# How far after `begin` a schedule ends: the argument that says so, and what to add to it.
_LENGTHS = {
    OneCycleParamScheduler: ('total_steps', 0),
    # Their last value is that of step `end` - 1. With one more, it would be the value of the iteration after the last.
    PolyParamScheduler: ('end', 1),
    LinearParamScheduler: ('end', 1),
    CosineAnnealingParamScheduler: ('T_max', 0),
}


def end_with_training(schedulers: Schedulers, max_iters: int) -> Schedulers:
    """Give a length to each scheduler that has none: the rest of the training.

    A ``PolyLR`` or ``LinearLR`` gets ``end = max_iters + 1``: the factor of iteration t is that of t / max_iters, and
    the final value would follow the last iteration. A ``OneCycleLR`` gets ``total_steps = max_iters - begin``.
    Everything else, and schedules by epochs, are left to MMEngine, whose default is ``end = max_iters``.

    Args:
        schedulers (dict | list, optional): ``param_scheduler`` of a config, of one optimizer or of several by name.
        max_iters (int): Iterations of the training.

    Returns:
        dict | list: The same with the lengths, as a copy.

    Example:
        >>> from mmfss.engine.schedule_end import end_with_training
        >>> end_with_training([dict(type='PolyLR', power=0.9, by_epoch=False)], max_iters=400)
        [{'type': 'PolyLR', 'power': 0.9, 'by_epoch': False, 'begin': 0, 'end': 401}]
    """
    schedulers = copy.deepcopy(schedulers)
    for _, scheduler in _named(schedulers):
        key, more = _length(scheduler)
        if key == 'end':
            scheduler.setdefault('begin', 0)
            scheduler.setdefault('end', max_iters + more)
        elif key == 'total_steps' and 'end' not in scheduler:
            scheduler.setdefault('total_steps', max_iters - scheduler.get('begin', 0))
    return schedulers


def check_end(schedulers: Schedulers, max_iters: int, resumed: bool = False) -> None:
    """Warn of a schedule that ends before or after the training.

    Args:
        schedulers (dict | list, optional): Result of :func:`end_with_training`.
        max_iters (int): Iterations of the training.
        resumed (bool): Whether the run is resumed; then the schedule is compared with the checkpoint's elsewhere.

    Raises:
        ConfigError: If a ``OneCycleLR`` is shorter than the training, which it would end with an error.
    """
    ends: dict[str, tuple[int, str, dict, str]] = {}
    for name, scheduler in _named(schedulers):
        if _is_warm_up(scheduler):
            continue
        key, _ = _length(scheduler)
        length = scheduler.get(key) if key else None
        end = scheduler.get('end') if length is None else length if key == 'end' else scheduler.get('begin', 0) + length
        if scheduler.get('by_epoch', True) or end is None:
            end = max_iters
        optimizer = name.rpartition('.')[0]
        if optimizer not in ends or end > ends[optimizer][0]:  # Of several in turn, the last one counts.
            ends[optimizer] = (end, name, scheduler, key or 'end')
    for end, name, scheduler, key in ends.values():
        if end in (max_iters, max_iters + 1):
            continue
        text = (f'{name} ({scheduler["type"]}) ends at iteration {end}, the training at {max_iters} '
                f'(train_cfg.max_iters). Leave out {name}.{key} to let it end with the training.')
        if key == 'total_steps' and end < max_iters and 'end' not in scheduler and not resumed:
            raise ConfigError(text)
        print_log(text, 'current', logging.WARNING)


def _named(schedulers: Schedulers, name: str = 'param_scheduler') -> list[tuple[str, dict]]:
    """List the schedulers that are not built yet, each with its place in the config."""
    if isinstance(schedulers, dict) and 'type' in schedulers:
        return [(f'{name}.0', schedulers)]
    items: Any = schedulers.items() if isinstance(schedulers, dict) else enumerate(schedulers or [])
    found = []
    for key, value in items:
        if isinstance(value, dict) and 'type' in value:
            found.append((f'{name}.{key}', value))
        elif isinstance(value, (dict, list, tuple)):
            found += _named(value, f'{name}.{key}')
    return found


def _is_warm_up(scheduler: dict) -> bool:
    """Check whether a scheduler ends at the optimizer's own value, which may hold for the rest of the training."""
    return scheduler['type'] in ('LinearLR', 'LinearMomentum') and scheduler.get('end_factor', 1.) == 1


def _length(scheduler: dict) -> tuple[Optional[str], int]:
    """Return the argument that says how long a scheduler is, and what it adds; None without one, or by epochs."""
    found = PARAM_SCHEDULERS.get(scheduler['type']) if isinstance(scheduler['type'], str) else scheduler['type']
    if found is None or scheduler.get('by_epoch', True):
        return None, 0
    return next((length for base, length in _LENGTHS.items() if issubclass(found, base)), (None, 0))

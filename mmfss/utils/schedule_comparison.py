"""Comparison of the schedule of a config with the one in a checkpoint: optimizer settings and parameter schedulers."""
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.optim.scheduler.param_scheduler import ReduceOnPlateauParamScheduler, _ParamScheduler
from mmengine.runner import Runner
from torch import Tensor

from .config_options import ConfigError

# What changes while a scheduler runs.
_PROGRESS = {'optimizer', 'last_step', '_global_step', '_last_value', 'base_values', 'verbose', 'best',
             'num_bad_epochs', 'cooldown_counter'}
# What a scheduler computes from its arguments; named only if no argument explains the difference.
_DERIVED = {'total_iters', 'cumulative_periods', '_schedule_phases', 'rule_worse', 'min_values'}
# What does not change the result of a step, or is no setting.
NO_SETTING = {'params', 'param_names', 'foreach', 'fused', 'capturable', 'differentiable'}
SCHEDULED = ('initial_', 'max_', 'min_')


class SchedulePart(NamedTuple):
    """Hold one optimizer with its schedulers: as built from the config, and as saved.

    Attributes:
        prefix (str): Its name and a dot among several optimizers, else empty.
        wrapper (OptimWrapper): The optimizer, from the config.
        groups (list[dict], optional): The saved parameter groups; None if no optimizer was saved.
        schedulers (list[_ParamScheduler]): Its schedulers, from the config.
        states (list[dict]): The saved states of the schedulers.
    """
    prefix: str
    wrapper: OptimWrapper
    groups: Optional[List[Dict[str, Any]]]
    schedulers: List[_ParamScheduler]
    states: List[Dict[str, Any]]


def schedule_parts(runner: Runner, checkpoint: Dict[str, Any]) -> Iterator[SchedulePart]:
    """Pair each optimizer of a runner with what a checkpoint holds of it.

    Args:
        runner (Runner): The runner, with nothing loaded yet.
        checkpoint (dict): The checkpoint.

    Yields:
        SchedulePart: One for each optimizer.
    """
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers or []
    optimizer, states = checkpoint.get('optimizer'), checkpoint.get('param_schedulers') or []
    if not isinstance(wrapper, OptimWrapperDict):
        yield SchedulePart('', wrapper, _saved_groups(optimizer), schedulers, states)
        return
    for name, part in wrapper.items():
        yield SchedulePart(f'{name}.', part, _saved_groups(optimizer[name] if optimizer else None),
                           schedulers[name] if schedulers else [], states.get(name, []) if states else [])


def _saved_groups(state: Optional[Dict[str, Any]]) -> Optional[List[Dict[str, Any]]]:
    """Return the parameter groups in the order of ``OptimWrapper.param_groups``; None if no optimizer was saved."""
    if state is None:
        return None
    base = state.get('base_param_settings')
    return [*state['param_groups'], *([] if base is None else [base])]


def compare_schedules(runner: Runner, checkpoint: Dict[str, Any], parts: List[SchedulePart]) -> Tuple[List[str], bool]:
    """List the settings that differ between config and checkpoint.

    Args:
        runner (Runner): The runner, with nothing loaded yet.
        checkpoint (dict): The checkpoint.
        parts (list[SchedulePart]): Result of :func:`schedule_parts`.

    Returns:
        tuple: The differences, one line each; and whether a scheduler only ends later, with the same past, which is no
        difference.

    Raises:
        ConfigError: If the state of an optimizer does not fit the config at all.
    """
    differences, longer = [], False
    iteration, planned = checkpoint['meta']['iter'], planned_iterations(checkpoint)
    if runner.max_iters < iteration:
        differences.append(f'train_cfg.max_iters: {runner.max_iters} by the config, but {iteration} are done')
    # Optimizer, then schedulers
    for part in parts:
        differences += _optimizer_differences(part)
        if len(part.schedulers) != len(part.states):
            differences.append(f'param_scheduler: {part.prefix}{len(part.states)} schedulers in the checkpoint, '
                               f'{len(part.schedulers)} by the config')
            continue
        for index, (scheduler, state) in enumerate(zip(part.schedulers, part.states)):
            done = checkpoint['meta'].get('epoch', 0) if scheduler.by_epoch else iteration
            changed = _scheduler_differences(scheduler, state)
            name = f'param_scheduler.{part.prefix}{index}'
            if set(changed) == {'end'} and _only_longer(scheduler, state, done, part.schedulers):
                longer = True
            elif changed:
                differences += [f'{name}.{key}: {saved} in the checkpoint, {value} by the config'
                                for key, (saved, value) in changed.items()]
            elif planned is not None and not scheduler.by_epoch and planned <= scheduler.end < runner.max_iters:
                differences.append(
                    f'train_cfg.max_iters: {planned} in the checkpoint, {runner.max_iters} by the config, while {name} '
                    f'({type(scheduler).__name__}) still ends at {scheduler.end}: its {scheduler.param_name} would '
                    'stay as it is there')
    return differences, longer


def planned_iterations(checkpoint: Dict[str, Any]) -> Optional[int]:
    """Return the planned iterations of the saved run; None if they are unknown."""
    return checkpoint.get('message_hub', {}).get('runtime_info', {}).get('max_iters')


def _optimizer_differences(part: SchedulePart) -> List[str]:
    if part.groups is None:
        return []
    groups, place = part.wrapper.param_groups, f'optim_wrapper.{part.prefix}optimizer'
    if [len(group['params']) for group in groups] != [len(group['params']) for group in part.groups]:
        raise ConfigError(f'{place}: its parameter groups are not those of the checkpoint ({len(groups)} by the '
                          f'config, {len(part.groups)} in the checkpoint), so that its state cannot be resumed. Was '
                          'paramwise_cfg, or what is trained, changed? Weights alone are taken with load_from.')
    own, saved = (_settings(side[0]) for side in (groups, part.groups))
    if set(own) - set(saved) and set(saved) - set(own):
        raise ConfigError(f'{place} is of another kind than in the checkpoint (only by the config: '
                          f'{", ".join(sorted(set(own) - set(saved)))}; only in the checkpoint: '
                          f'{", ".join(sorted(set(saved) - set(own)))}), so that its state cannot be resumed. Weights '
                          'alone are taken with load_from.')
    lines: List[str] = []
    # The last group of several is the one without parameters that holds the settings of the config.
    for index, (group, other) in reversed(list(enumerate(zip(groups, part.groups)))):
        own, saved = _settings(group), _settings(other)
        where = place if index == len(groups) - 1 else f'{place} (parameter group {index})'
        lines += [f'{where}.{key}: {saved[key]} in the checkpoint, {own[key]} by the config'
                  for key in own if key in saved and own[key] != saved[key]]
        if lines:  # The other groups are multiples of these settings.
            return lines
    return lines


def _settings(group: Dict[str, Any]) -> Dict[str, Any]:
    """Return the initial settings of a parameter group, without those that a one-cycle schedule replaces."""
    return {key: _plain(group.get(f'initial_{key}', value)) for key, value in group.items()
            if key not in NO_SETTING and not key.startswith(SCHEDULED) and f'max_{key}' not in group}


def _scheduler_differences(scheduler: _ParamScheduler, state: Dict[str, Any]) -> Dict[str, Tuple[Any, Any]]:
    own, saved = ({key: _plain(value) for key, value in values.items() if key not in _PROGRESS and not callable(value)}
                  for values in (scheduler.__dict__, state))
    changed = {key: (saved.get(key, 'absent'), own.get(key, 'absent'))
               for key in {**own, **saved} if key not in own or key not in saved or own[key] != saved[key]}
    # Of a cosine without T_max and a polynomial, the end is more than where they stop.
    named = {key: value for key, value in changed.items() if key not in _DERIVED}
    return changed if set(changed) & _DERIVED and set(named) <= {'end'} else named


def _only_longer(scheduler: _ParamScheduler, state: Dict[str, Any], done: int,
                 schedulers: List[_ParamScheduler]) -> bool:
    """Check whether a scheduler with another end has the same past, and can continue."""
    if min(state['end'], scheduler.end) < done or steps_missing(scheduler):
        return False
    # The step at a former end is made up for by repeating the schedule, which a plateau does not allow.
    plateau = any(isinstance(other, ReduceOnPlateauParamScheduler) for other in schedulers)
    return not plateau or state['end'] > done or isinstance(scheduler, ReduceOnPlateauParamScheduler)


def steps_missing(scheduler: _ParamScheduler) -> bool:
    """Check whether a one-cycle schedule is shorter than the training."""
    return getattr(scheduler, 'total_steps', scheduler.end) + 1 < scheduler.end - scheduler.begin


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value

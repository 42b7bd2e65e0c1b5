"""Schedule of a resumed run: comparison of checkpoint and config, and changes of the config.

MMEngine restores the state of the optimizer and the parameter schedulers. It holds hyper-parameters too, so that a
learning rate or a length that was changed in the config silently has no effect on a resumed run. Here such a change is
an error that names it, unless the run says which schedule to follow.
"""
import copy
import warnings
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.optim.scheduler.param_scheduler import ReduceOnPlateauParamScheduler, _ParamScheduler
from mmengine.runner import Runner
from torch import Tensor

from mmfss.utils.config_options import ConfigError

# What changes while a scheduler runs.
_PROGRESS = {'optimizer', 'last_step', '_global_step', '_last_value', 'base_values', 'verbose', 'best',
             'num_bad_epochs', 'cooldown_counter'}
# What a scheduler computes from its arguments; named only if no argument explains the difference.
_DERIVED = {'total_iters', 'cumulative_periods', '_schedule_phases', 'rule_worse', 'min_values'}
# What does not change the result of a step, or is no setting.
_NO_SETTING = {'params', 'param_names', 'foreach', 'fused', 'capturable', 'differentiable'}
_SCHEDULED = ('initial_', 'max_', 'min_')


class _Part(NamedTuple):
    """Hold one optimizer with its schedulers: as built from the config, and as saved."""
    prefix: str
    wrapper: OptimWrapper
    groups: Optional[List[Dict[str, Any]]]
    schedulers: List[_ParamScheduler]
    states: List[Dict[str, Any]]


def settle_schedule(runner: Runner, checkpoint: Dict[str, Any], policy: str = 'exact') -> None:
    """Decide which schedule a resumed run follows, before its checkpoint is loaded.

    If nothing has changed, the checkpoint stays as it is and training continues exactly. A training that only got more
    iterations follows the config, if its schedule does not depend on the length.

    Args:
        runner (Runner): The runner; optimizer and schedulers are built from the config, nothing is loaded into them.
        checkpoint (dict): The checkpoint, changed in place.
        policy (str): ``exact``, ``config`` or ``checkpoint``, see :class:`ExactCheckpointHook`.

    Raises:
        ConfigError: If the schedules differ and the policy is ``exact``, or the config's cannot be followed.
    """
    if not isinstance(runner.optim_wrapper, OptimWrapper) or 'iter' not in checkpoint.get('meta', {}):
        return
    parts = list(_parts(runner, checkpoint))
    differences, longer = _compare(runner, checkpoint, parts)
    if differences and policy == 'exact':
        raise ConfigError(
            f'The run cannot be resumed as it was: its schedule was changed in the config since iteration '
            f'{checkpoint["meta"]["iter"]} was saved:' + ''.join(f'\n  {line}' for line in differences) +
            '\nUndo the change, or say which schedule to follow: --resume-schedule config (the new one, as if it had '
            'held from the start) or --resume-schedule checkpoint (the old one). In a config it is '
            'default_hooks.checkpoint.resume_schedule.')
    if differences:
        runner.logger.warning(f'The schedule follows the {policy}, see --resume-schedule. Changed since the checkpoint:'
                              + ''.join(f'\n  {line}' for line in differences))
    _log_length(runner, checkpoint)
    if policy == 'config' and differences or longer and policy != 'checkpoint':
        _follow_config(checkpoint, parts, only_longer=not differences)


def _parts(runner: Runner, checkpoint: Dict[str, Any]) -> Iterator[_Part]:
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers or []
    optimizer, states = checkpoint.get('optimizer'), checkpoint.get('param_schedulers') or []
    if not isinstance(wrapper, OptimWrapperDict):
        yield _Part('', wrapper, _saved_groups(optimizer), schedulers, states)
        return
    for name, part in wrapper.items():
        yield _Part(f'{name}.', part, _saved_groups(optimizer[name] if optimizer else None),
                    schedulers[name] if schedulers else [], states.get(name, []) if states else [])


def _saved_groups(state: Optional[Dict[str, Any]]) -> Optional[List[Dict[str, Any]]]:
    """Return the parameter groups in the order of ``OptimWrapper.param_groups``; None if no optimizer was saved."""
    if state is None:
        return None
    base = state.get('base_param_settings')
    return [*state['param_groups'], *([] if base is None else [base])]


def _compare(runner: Runner, checkpoint: Dict[str, Any], parts: List[_Part]) -> Tuple[List[str], bool]:
    """List what differs, and say whether schedulers differ in their end alone, with the same past."""
    differences, longer = [], False
    iteration, planned = checkpoint['meta']['iter'], _planned(checkpoint)
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


def _planned(checkpoint: Dict[str, Any]) -> Optional[int]:
    """Return the planned iterations of the saved run; None if they are unknown."""
    return checkpoint.get('message_hub', {}).get('runtime_info', {}).get('max_iters')


def _optimizer_differences(part: _Part) -> List[str]:
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
            if key not in _NO_SETTING and not key.startswith(_SCHEDULED) and f'max_{key}' not in group}


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
    if min(state['end'], scheduler.end) < done or _steps_missing(scheduler):
        return False
    # The step at a former end is made up for by repeating the schedule, which a plateau does not allow.
    plateau = any(isinstance(other, ReduceOnPlateauParamScheduler) for other in schedulers)
    return not plateau or state['end'] > done or isinstance(scheduler, ReduceOnPlateauParamScheduler)


def _steps_missing(scheduler: _ParamScheduler) -> bool:
    """Check whether a one-cycle schedule is shorter than the training."""
    return getattr(scheduler, 'total_steps', scheduler.end) + 1 < scheduler.end - scheduler.begin


def _follow_config(checkpoint: Dict[str, Any], parts: List[_Part], only_longer: bool) -> None:
    """Replace the settings in the checkpoint by those that the config has at the resumed iteration."""
    iterations, epochs = checkpoint['meta']['iter'], checkpoint['meta'].get('epoch', 0)
    for part in parts:
        if any(isinstance(scheduler, ReduceOnPlateauParamScheduler) for scheduler in part.schedulers):
            if not only_longer:
                raise ConfigError('--resume-schedule config: a ReduceOnPlateau scheduler follows the validations so '
                                  'far, which cannot be repeated. Use --resume-schedule checkpoint.')
            for scheduler, state in zip(part.schedulers, part.states):
                state['end'] = scheduler.end
            continue
        for index, scheduler in enumerate(part.schedulers):
            if _steps_missing(scheduler):
                raise ConfigError(f'param_scheduler.{part.prefix}{index}.total_steps is {scheduler.total_steps}, but '
                                  f'the scheduler is used to iteration {scheduler.end}: make it as long.')
        # Replace the saved settings and states
        _fast_forward(part.schedulers, iterations, epochs)
        for group, saved in zip(part.wrapper.param_groups, part.groups or []):
            for key in [key for key in saved if key.startswith(_SCHEDULED) and key not in group]:
                del saved[key]
            saved.update({key: copy.deepcopy(value) for key, value in group.items() if key not in _NO_SETTING})
        part.states[:] = [scheduler.state_dict() for scheduler in part.schedulers]


def _fast_forward(schedulers: List[_ParamScheduler], iterations: int, epochs: int) -> None:
    """Advance new schedulers, and their optimizer's settings, to the current iteration, step by step."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*`optimizer.step\\(\\)`')
        for step in range(1, iterations + 1):
            for scheduler in schedulers:
                # The end of an epoch follows its last iteration.
                if not scheduler.by_epoch:
                    scheduler.step()
            if epochs and step * epochs // iterations > (step - 1) * epochs // iterations:
                for scheduler in schedulers:
                    if scheduler.by_epoch:
                        scheduler.step()


def _log_length(runner: Runner, checkpoint: Dict[str, Any]) -> None:
    planned = _planned(checkpoint)
    if planned is not None and planned != runner.max_iters:
        runner.logger.info(f'The resumed run was to have {planned} iterations and now has {runner.max_iters}.')


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value

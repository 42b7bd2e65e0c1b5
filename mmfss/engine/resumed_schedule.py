"""Schedule of a resumed run.

MMEngine restores the state of the optimizer and the parameter schedulers. It holds hyper-parameters too, so that a
learning rate or a length that was changed in the config silently has no effect on a resumed run. Here such a change is
an error that names it, unless the run says which schedule to follow.
"""
import copy
import warnings
from typing import Any, Dict, List

from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.param_scheduler import ReduceOnPlateauParamScheduler, _ParamScheduler
from mmengine.runner import Runner

from mmfss.utils.config_options import ConfigError
from mmfss.utils.schedule_comparison import (
    NO_SETTING,
    SCHEDULED,
    SchedulePart,
    compare_schedules,
    planned_iterations,
    schedule_parts,
    steps_missing,
)


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
    parts = list(schedule_parts(runner, checkpoint))
    differences, longer = compare_schedules(runner, checkpoint, parts)
    # Changed: an error, or a warning
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
    # Apply the policy
    _log_length(runner, checkpoint)
    if policy == 'config' and differences or longer and policy != 'checkpoint':
        _follow_config(checkpoint, parts, only_longer=not differences)


def _follow_config(checkpoint: Dict[str, Any], parts: List[SchedulePart], only_longer: bool) -> None:
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
            if steps_missing(scheduler):
                raise ConfigError(f'param_scheduler.{part.prefix}{index}.total_steps is {scheduler.total_steps}, but '
                                  f'the scheduler is used to iteration {scheduler.end}: make it as long.')
        # Replace the saved settings and states
        _fast_forward(part.schedulers, iterations, epochs)
        for group, saved in zip(part.wrapper.param_groups, part.groups or []):
            for key in [key for key in saved if key.startswith(SCHEDULED) and key not in group]:
                del saved[key]
            saved.update({key: copy.deepcopy(value) for key, value in group.items() if key not in NO_SETTING})
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
    planned = planned_iterations(checkpoint)
    if planned is not None and planned != runner.max_iters:
        runner.logger.info(f'The resumed run was to have {planned} iterations and now has {runner.max_iters}.')

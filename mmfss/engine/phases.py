"""Training in phases: each is a run of its own, with its own optimizer, that starts from the result of the last.

A config with phases is a complete config plus ``phases``, a dict of names to changes. A change may also hold
``result``, the file of the phase's working directory that the next one starts from; by default its last checkpoint.
Changes are merged into the config key by key; ``_delete_=True`` replaces a dict. A phase that is None does not exist.
"""
import copy
import itertools
import json
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Optional, Sequence

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process

from mmfss.models.layers.prototypes import find_layout
from mmfss.utils.checkpoint import find_last_checkpoint, forget_last_checkpoint
from mmfss.utils.config import add_hook
from mmfss.utils.config_options import ConfigError, accepted_arguments, find_class
from mmfss.utils.files import dump_json, moved_into
from .class_check import ClassCheck
from .hooks import ProgressHook
from .schedule_end import end_with_training
from .short_start import build_runner

DONE = 'phase.json'
STAGE1 = '{stage1}'
"""In ``load_from`` of a stage 2: the working directory of its stage 1."""
_runs = itertools.count()


class Phase(NamedTuple):
    """A phase of a schedule.

    Attributes:
        name (str): As in the config.
        cfg (Config): Its complete config.
        work_dir (Path): Where it writes.
        result (str, optional): File of ``work_dir`` that is its outcome; None for the last checkpoint.
    """
    name: str
    cfg: Config
    work_dir: Path
    result: Optional[str]

    @property
    def outcome(self) -> Optional[dict[str, Any]]:
        """dict, optional: What was noted when the phase ended; None if it has not."""
        path = self.work_dir / DONE
        if not path.is_file():
            return None
        outcome = json.loads(path.read_text(encoding='utf-8'))
        outcome['result'] = str(moved_into(self.work_dir, outcome['result']))
        return outcome if Path(outcome['result']).is_file() else None


def phases_of(cfg: Config, work_dir: Path) -> Iterator[Phase]:
    """Take a config apart.

    Args:
        cfg (Config): A config with ``phases``.
        work_dir (Path): Each phase writes to a folder of its name below.

    Yields:
        Phase: In the order of the config.

    Raises:
        ConfigError: If the config has no phases.
    """
    if not cfg.get('phases'):
        raise ConfigError(f'The config "{cfg.filename}" has no phases.')
    for name, changes in cfg.phases.items():
        if changes is None:
            continue
        changes = copy.deepcopy(changes.to_dict() if hasattr(changes, 'to_dict') else dict(changes))
        result = changes.pop('result', None)
        phase_cfg = copy.deepcopy(cfg)
        phase_cfg.pop('phases')
        phase_cfg.merge_from_dict(changes)
        if 'find_unused_parameters' in changes and phase_cfg.get('model_wrapper_cfg'):
            phase_cfg.model_wrapper_cfg.find_unused_parameters = phase_cfg.find_unused_parameters
        phase_cfg.work_dir = str(work_dir / name)
        yield Phase(name, phase_cfg, work_dir / name, result)


def train_phases(phases: Sequence[Phase], load_from: Optional[str] = None, resume: bool = False) -> list[dict]:
    """Train the phases one after the other.

    Args:
        phases (Sequence[Phase]): In this order; names may repeat only in different folders.
        load_from (str, optional): Checkpoint for the first phase; its config's own by default.
        resume (bool): Leave out phases that have ended, and continue the one that has not, exactly where it stopped. A
            phase that ended by another schedule than the config's is continued if ``resume_schedule`` of its checkpoint
            hook is ``'config'``; the phases after it are then trained anew, from its new result.

    Returns:
        list[dict]: Of each phase ``name``, ``result`` (the checkpoint), ``metrics`` (its last validation) and
        ``iterations``.

    Raises:
        ConfigError: If a phase ended by another schedule than the config's, and ``resume_schedule`` is ``'exact'``; or
            if model, data and initial weights have different classes.
        FileNotFoundError: If the initial weights do not exist.
    """
    _check(phases, load_from, resume)
    if not resume:
        # Of a former run in the same folders nothing may be taken for this one's if it is cut off and resumed.
        _forget(phases)
    outcomes = []
    for index, phase in enumerate(phases):
        outcome = phase.outcome if resume else None
        if outcome is not None and _to_be_continued(phase, outcome):
            _forget(phases[index + 1:])
            outcome = None
        if outcome is None:
            outcome = _train(phase, load_from, resume)
        outcomes.append({key: value for key, value in outcome.items() if key != 'schedule'})
        load_from = outcome['result']
    return outcomes


def result_before(phase: Phase, phases: Sequence[Phase], resume: bool = False) -> Optional[str]:
    """Find the checkpoint that a phase starts from when those before it are not trained with it.

    Args:
        phase (Phase): The first that is trained.
        phases (Sequence[Phase]): All phases of the configs.
        resume (bool): Whether a phase that has begun is continued; it then needs no other start.

    Returns:
        str, optional: Result of the phase before it; None if the start is the config's or its own.

    Raises:
        ConfigError: If the phase before it has not ended, and the config names no checkpoint.
    """
    index = phases.index(phase)
    if index == 0 or resume and (phase.outcome or find_last_checkpoint(phase.work_dir)):
        return None
    before = phases[index - 1]
    if before.outcome is not None:
        return before.outcome['result']
    if phase.cfg.get('load_from'):
        return None
    raise ConfigError(f'The phase "{phase.name}" starts from the result of "{before.name}", which has not ended in '
                      f'{before.work_dir}: train it too (--phases {before.name} {phase.name}), or name a checkpoint '
                      'with --load-from.')


def _check(phases: Sequence[Phase], load_from: Optional[str], resume: bool) -> None:
    """Refuse before the first phase what would end a later one."""
    check = ClassCheck()
    for phase in phases:
        check.check(phase.cfg)
    first = phases[0]
    path = load_from or first.cfg.get('load_from')
    if path is None or resume and (first.outcome or find_last_checkpoint(first.work_dir)):
        return
    if STAGE1 in path:
        raise ConfigError(f'The config "{first.cfg.filename}" begins with the result of stage 1 ({path}), but its name '
                          f'holds no "stage2" from which that of stage 1 would follow: name the file with --load-from.')
    if '://' not in path and not Path(path).is_file():
        raise FileNotFoundError(f'The checkpoint "{path}" that "{first.cfg.filename}" starts from (load_from) does not '
                                'exist. Train stage 1 first, or name a checkpoint with --load-from.')
    check.check_weights(path, first.cfg)


def follow_stage(cfg: Config) -> None:
    """Replace ``{stage1}`` in ``load_from`` by the working directory of stage 1.

    Of a config ``<name>_stage2.py`` it is ``<name>_stage1`` beside its own, so that a config that inherits from another
    stage 2 starts from its own stage 1. Without ``stage2`` in the name, nothing is replaced.

    Args:
        cfg (Config): The config, with ``work_dir`` set; changed in place.
    """
    name = Path(str(cfg.filename)).stem
    if STAGE1 in (cfg.get('load_from') or '') and 'stage2' in name:
        folder = Path(cfg.work_dir).with_name(name.replace('stage2', 'stage1'))
        cfg.load_from = cfg.load_from.replace(STAGE1, folder.as_posix())


def _forget(phases: Sequence[Phase]) -> None:
    if is_main_process():
        for phase in phases:
            (phase.work_dir / DONE).unlink(missing_ok=True)
            forget_last_checkpoint(phase.work_dir)
    barrier()


def _schedule(cfg: Config) -> dict[str, Any]:
    """Return the settings that ``resume_schedule`` is about, as a JSON file would give them."""
    content = cfg.to_dict()
    # The precision may change from one run to the next.
    optimizer = {key: value for key, value in content['optim_wrapper'].items() if key not in ('type', 'loss_scale')}
    max_iters = content['train_cfg'].get('max_iters')
    schedulers = content.get('param_scheduler')
    schedule = {'train_cfg.max_iters': max_iters, 'optim_wrapper': optimizer,
                'param_scheduler': end_with_training(schedulers, max_iters) if max_iters else schedulers}
    return json.loads(json.dumps(schedule, default=str))


def _to_be_continued(phase: Phase, outcome: dict[str, Any]) -> bool:
    """Whether a phase that has ended is continued, as its schedule was changed since."""
    now = _schedule(phase.cfg)
    changed = [key for key, value in outcome.get('schedule', now).items() if value != now[key]]
    hook = (phase.cfg.get('default_hooks') or {}).get('checkpoint') or {}
    policy = hook.get('resume_schedule', 'exact')
    if changed and policy == 'exact':
        raise ConfigError(
            f'The phase "{phase.name}" ended after {outcome["iterations"]} iterations, and its config was changed '
            f'since ({", ".join(changed)}). Undo the change, or choose --resume-schedule config (continue this phase '
            'by the new config, and train the following ones anew) or --resume-schedule checkpoint (take its result as '
            'it is).')
    return bool(changed) and policy == 'config'


def _train(phase: Phase, load_from: Optional[str], resume: bool) -> dict[str, Any]:
    cfg = phase.cfg
    if is_main_process():
        (phase.work_dir / DONE).unlink(missing_ok=True)
    phase.work_dir.mkdir(parents=True, exist_ok=True)
    last = find_last_checkpoint(phase.work_dir) if resume else None
    cfg.resume, cfg.load_from = last is not None, last or load_from or cfg.get('load_from')
    if cfg.resume:
        add_hook(cfg, dict(type='CheckpointGuardHook', source=last))
    # Several processes must know the number of prototypes before anything is loaded.
    if cfg.load_from and Path(cfg.load_from).is_file() and find_layout(cfg.load_from) is not None:
        for module in _modules_with_layout(cfg.model):
            module.setdefault('layout_from', cfg.load_from)
    cfg.experiment_name = f'{phase.work_dir.parent.name}_{phase.name}_{next(_runs)}'
    runner = build_runner(cfg)
    runner.register_hook(ProgressHook())
    runner.train()
    info = runner.message_hub.runtime_info
    result = phase.work_dir / phase.result if phase.result else Path(info['last_ckpt'])
    if not result.is_file():
        raise ConfigError(f'The phase "{phase.name}" was to end with the file "{result}", which is not there.')
    outcome = dict(name=phase.name, result=str(result), iterations=runner.iter, metrics=_last_metrics(runner))
    if is_main_process():
        dump_json(dict(outcome, schedule=_schedule(phase.cfg)), phase.work_dir / DONE)
    barrier()
    return outcome


def _modules_with_layout(node: Any) -> Iterator[dict[str, Any]]:
    """Configs of the modules that can take the layout of their prototypes from a checkpoint."""
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _modules_with_layout(item)
    elif isinstance(node, dict):
        module = find_class(node.get('type'))
        if module is not None and 'layout_from' in (accepted_arguments(module) or ()):
            yield node
        for item in node.values():
            yield from _modules_with_layout(item)


def _last_metrics(runner: Any) -> dict[str, float]:
    scalars = runner.message_hub.log_scalars
    return {name.removeprefix('val/'): float(buffer.current()) for name, buffer in scalars.items()
            if name.startswith('val/') and 'time' not in name}

"""Checkpoints from which training continues as if it had never stopped."""
from pathlib import Path
from typing import Any, Dict, List, Optional

from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor

from mmfss.engine.loops import VALIDATED_ITER
from mmfss.engine.resumed_schedule import settle_schedule
from mmfss.registry import HOOKS
from mmfss.utils.config_options import ConfigError
from mmfss.utils.defaults import RESUME_SCHEDULES
from mmfss.utils.files import atomic_path, moved_into
from mmfss.utils.random_state import RandomState, get_random_state, set_random_state

RANDOM_STATE = 'random_state'
GRADIENTS = 'accumulated_gradients'


@HOOKS.register_module()
class ExactCheckpointHook(CheckpointHook):
    """Save checkpoints like MMEngine's hook, but exactly resumable and safe against being killed.

    * The random state of every process is part of the checkpoint and is restored before the first resumed iteration,
      so that dropout and augmentation continue where they stopped. Validation restores the random state, so that
      training does not depend on it.
    * Accumulated gradients (``accumulative_counts``) are part of the checkpoint, for training in one process.
    * A file is complete or absent: it is written under a temporary name, then renamed, and ``last_checkpoint`` is
      replaced after that. Older checkpoints are removed last. A run killed at any moment can be resumed.
    * A working directory can be moved or copied, and resumed there: files of the former one are left alone.
    * A schedule that was changed in the config since the checkpoint is an error, unless ``resume_schedule`` says what
      to follow.

    Use it with :class:`EpisodeTrainLoop`. Files must be local.

    Args:
        resume_schedule (str): What a resumed run does if the config has another learning rate, other settings of the
            optimizer or other parameter schedulers than the checkpoint. ``'exact'``: an error that lists the changes;
            ``'config'``: follow the new config, as if it had held from the start, with the optimizer's averages of
            gradients kept; ``'checkpoint'``: continue the old schedule. Defaults to ``'exact'``.
        **kwargs: Arguments of :class:`mmengine.hooks.CheckpointHook`.
    """

    def __init__(self, resume_schedule: str = 'exact', **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if resume_schedule not in RESUME_SCHEDULES:
            raise ConfigError(f'default_hooks.checkpoint.resume_schedule must be one of {", ".join(RESUME_SCHEDULES)}, '
                              f'got "{resume_schedule}".')
        self.resume_schedule = resume_schedule
        if self.args:
            raise TypeError(f'ExactCheckpointHook has no argument "{next(iter(self.args))}".')
        self._loaded_states: Optional[List[RandomState]] = None
        self._loaded_gradients: Dict[str, Tensor] = {}
        self._gathered_states: List[RandomState] = []
        self._state_before_val: Optional[RandomState] = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Keep the random states of a checkpoint until training begins; settle the schedule of a resumed run.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What was loaded.
        """
        if runner._resume:
            settle_schedule(runner, checkpoint, self.resume_schedule)
        self._loaded_states = checkpoint.get(RANDOM_STATE)
        self._loaded_gradients = checkpoint.get(GRADIENTS, {})

    def before_train(self, runner: Runner) -> None:
        """Find the checkpoints of a resumed run; remove files that a killed run left half written.

        Args:
            runner (Runner): The runner.
        """
        super().before_train(runner)
        self._find_noted_files(runner)
        if is_main_process() and Path(self.out_dir).is_dir():
            pattern = '.{}.????????.pth'
            stems = [self.filename_tmpl.format('*').removesuffix('.pth'), 'best_*']
            for stem in stems:
                for leftover in Path(self.out_dir).glob(pattern.format(stem)):
                    leftover.unlink(missing_ok=True)

    def _find_noted_files(self, runner: Runner) -> None:
        """Correct the recorded paths of a resumed run, if its folder was moved or copied since."""
        info = runner.message_hub.runtime_info
        for name, path in list(info.items()):
            if path is not None and (name == 'last_ckpt' or name.startswith('best_ckpt')):
                runner.message_hub.update_info(name, str(moved_into(self.out_dir, path)))
        if self.save_best and len(self.key_indicators) == 1:
            self.best_ckpt_path = info.get('best_ckpt')
        elif self.save_best:
            self.best_ckpt_path_dict = {key: info.get(f'best_ckpt_{key}') for key in self.key_indicators}

    def before_train_epoch(self, runner: Runner) -> None:
        """Restore the random state of a resumed run, after all other preparations (the hook's priority is lowest).

        Args:
            runner (Runner): The runner.
        """
        states, self._loaded_states = self._loaded_states, None
        gradients, self._loaded_gradients = self._loaded_gradients, {}
        if runner.iter == 0:  # Weights were loaded, not a run resumed.
            return
        for name, parameter in runner.model.named_parameters() if gradients else ():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter)
        if states is None:
            if runner.train_loop.epoch == 0:
                runner.logger.warning('The resumed checkpoint has no random state: training continues with a new one.')
        elif len(states) != get_world_size():
            runner.logger.warning(f'The resumed run had {len(states)} processes, this one has {get_world_size()}: '
                                  'training continues with a new random state.')
        else:
            set_random_state(states[get_rank()])

    def before_save_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Add the random states of all processes to the checkpoint; remove objects that a safe loader would refuse.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What will be written.
        """
        if 'optimizer' in checkpoint:
            checkpoint[RANDOM_STATE] = self._gathered_states
            if self._accumulates(runner):
                checkpoint[GRADIENTS] = {name: parameter.grad.cpu() for name, parameter in
                                         runner.model.named_parameters() if parameter.grad is not None}
        if isinstance(checkpoint.get('param_schedulers'), dict):
            checkpoint['param_schedulers'] = {
                name: _without_functions(states) for name, states in checkpoint['param_schedulers'].items()
            }
        elif 'param_schedulers' in checkpoint:
            checkpoint['param_schedulers'] = _without_functions(checkpoint['param_schedulers'])

    @staticmethod
    def _accumulates(runner: Runner) -> bool:
        """Check whether gradients are being accumulated. Those of several processes are not equal yet."""
        wrapper = runner.optim_wrapper
        return isinstance(wrapper, OptimWrapper) and not isinstance(wrapper, OptimWrapperDict) and (
            get_world_size() == 1 and not wrapper.should_update())

    def before_val_epoch(self, runner: Runner) -> None:
        """Remember the random state that validation must leave.

        Args:
            runner (Runner): The runner.
        """
        self._state_before_val = get_random_state()

    def after_val_epoch(self, runner: Runner, metrics: Dict[str, float]) -> None:
        """Restore the random state; keep the checkpoint if it is the best so far.

        Args:
            runner (Runner): The runner.
            metrics (dict): Results of the validation.
        """
        if self._state_before_val is not None:
            set_random_state(self._state_before_val)
        runner.message_hub.update_info(VALIDATED_ITER, runner.iter)
        super().after_val_epoch(runner, metrics)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: Dict[str, Any]) -> None:
        outdated = self._rotate(runner, step) if self.max_keep_ckpts > 0 else []
        self._gathered_states = all_gather_object(get_random_state())
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir) / name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._write(runner, name, meta, self.save_optimizer, self.save_param_scheduler, self.by_epoch)
        if is_main_process():
            with atomic_path(Path(runner.work_dir) / 'last_checkpoint') as temporary:
                temporary.write_text(self.last_ckpt)
            for old in outdated:
                (Path(self.out_dir) / self.filename_tmpl.format(old)).unlink(missing_ok=True)

    def _rotate(self, runner: Runner, step: int) -> List[int]:
        """List the steps whose checkpoints are removed once that of ``step`` is written."""
        kept = [old for old in self.keep_ckpt_ids if old != step] + [step]
        outdated, kept = kept[:-self.max_keep_ckpts], kept[-self.max_keep_ckpts:]
        self.keep_ckpt_ids.clear()
        self.keep_ckpt_ids.extend(kept)
        runner.message_hub.update_info('keep_ckpt_ids', kept)
        return outdated

    def _save_best_checkpoint(self, runner: Runner, metrics: Dict[str, float]) -> None:
        if not self.save_best:
            return
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        single = len(self.key_indicators) == 1
        outdated, improved = [], False
        for key in self.key_indicators:
            suffix = '' if single else f'_{key}'
            score = self._score(metrics, key)
            best = runner.message_hub.runtime_info.get(f'best_score{suffix}')
            if score is None or (best is not None and not self.is_better_than[key](score, best)):
                continue
            improved = True
            outdated.append(runner.message_hub.runtime_info.get(f'best_ckpt{suffix}'))
            self._save_best(runner, key, score, suffix)
        # Once more, so that a resumed run knows its best checkpoint; only then the former best may go.
        if improved and self.last_ckpt is not None:
            step = runner.epoch if self.by_epoch else runner.iter
            self._save_checkpoint_with_step(runner, step, meta=dict(epoch=runner.epoch, iter=runner.iter))
        if is_main_process():
            current = {runner.message_hub.runtime_info.get(name) for name in runner.message_hub.runtime_info
                       if name.startswith('best_ckpt')}
            for path in outdated:
                if path is not None and path not in current and Path(path).parent == Path(self.out_dir):
                    Path(path).unlink(missing_ok=True)

    def _save_best(self, runner: Runner, key: str, score: float, suffix: str) -> None:
        step = runner.epoch if self.by_epoch else runner.iter
        name = f'best_{key}_{self.filename_tmpl.format(step)}'.replace('/', '_')
        path = str(Path(self.out_dir) / name)
        runner.message_hub.update_info(f'best_score{suffix}', score)
        runner.message_hub.update_info(f'best_ckpt{suffix}', path)
        if suffix:
            self.best_ckpt_path_dict[key] = path
        else:
            self.best_ckpt_path = path
        self._write(runner, name, dict(epoch=runner.epoch, iter=runner.iter), False, False, False)
        runner.logger.info(f'The best checkpoint so far, {key} {score:.4f}, is {name}.')

    def _score(self, metrics: Dict[str, float], key: str) -> Optional[float]:
        if key not in metrics:
            raise KeyError(f'default_hooks.checkpoint.save_best is "{key}", but validation gives {", ".join(metrics)}.')
        score = metrics[key]
        # Neither None nor NaN is a score.
        return None if score is None or score != score else float(score)

    def _write(self, runner: Runner, name: str, meta: Dict[str, Any], optimizer: bool, schedulers: bool,
               by_epoch: bool) -> None:
        if not is_main_process():
            return
        with atomic_path(Path(self.out_dir) / name) as temporary:
            runner.save_checkpoint(
                str(temporary.parent),
                temporary.name,
                save_optimizer=optimizer,
                save_param_scheduler=schedulers,
                meta=meta,
                by_epoch=by_epoch)


def _without_functions(states: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    # OneCycleLR keeps its annealing function in its state. The resumed scheduler has it from its own constructor.
    return [{key: value for key, value in state.items() if not callable(value)} for state in states]

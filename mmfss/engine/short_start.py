"""A runner whose start is a short summary on the screen; the log file has every line."""
import logging
from pathlib import Path
from typing import Any, List

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmfss.utils.unwrap import unwrap

_BEGIN = dict(before_train='train', before_val='val', before_test='test')


class _OnlyWarnings(logging.Filter):
    """Keep what is no warning from the screen."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let warnings and errors pass."""
        return record.levelno >= logging.WARNING


class ShortStartRunner(Runner):
    """MMEngine's runner, which logs hundreds of lines before the first iteration: the environment, the config, hooks.

    They go to the log file. The screen shows warnings, and one summary when the loop begins.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger, whose screen is quiet at first."""
        logger = super().build_logger(*args, **kwargs)
        self._quiet = _OnlyWarnings()
        self._screens = [handler for handler in logger.handlers if type(handler) is logging.StreamHandler]
        for screen in self._screens:
            screen.addFilter(self._quiet)
        return logger

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call all hooks. When the first loop begins, the screen shows the summary, and from then on every line."""
        super().call_hook(fn_name, **kwargs)
        if fn_name in _BEGIN and self._screens:
            for screen in self._screens:
                screen.removeFilter(self._quiet)
            self._screens = []
            self.logger.info('\n'.join([f'{_BEGIN[fn_name]}:', *summary(self, _BEGIN[fn_name])]))


def summary(runner: Runner, task: str) -> List[str]:
    """Describe a run in a few lines.

    Args:
        runner (Runner): The runner, with its loop built.
        task (str): ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        list[str]: Model, data, schedule, weights and files.
    """
    model, loader = unwrap(runner.model), getattr(runner, f'{task}_dataloader')
    parts = [getattr(model, name) for name in ('backbone', 'head', 'decode_head') if hasattr(model, name)]
    names = ', '.join(type(part).__name__ for part in parts)
    weights = [parameter for parameter in model.parameters()]
    trained = sum(parameter.numel() for parameter in weights if parameter.requires_grad)
    batch_size = loader.batch_size or loader.batch_sampler.batch_size
    lines = {
        'model': f'{type(model).__name__}{f" ({names})" if names else ""}, '
                 f'{_millions(sum(parameter.numel() for parameter in weights))} parameters'
                 f'{f", {_millions(trained)} trained" if task == "train" else ""}',
        'data': f'{type(loader.dataset).__name__}, {len(loader.dataset)} samples, batches of {batch_size}',
        'device': f'{next(iter(weights)).device if weights else "cpu"}, {runner.world_size} process(es)',
    }
    if task == 'train':
        lines['schedule'] = f'iterations {runner.iter} to {runner.max_iters}'
    if runner._load_from:
        lines['weights'] = f'{"resumed" if runner._resume else "loaded"} from {runner._load_from}'
    lines['config'] = str(Path(runner.work_dir) / Path(runner.cfg.filename or f'{runner.timestamp}.py').name)
    lines['log'] = str(Path(runner.log_dir) / f'{runner.timestamp}.log')
    return [f'  {name:10}{text}' for name, text in lines.items()]


def _millions(number: int) -> str:
    return f'{number / 1e6:.1f} M' if number >= 100_000 else str(number)


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a config: a :class:`ShortStartRunner`, unless the config names a ``runner_type``.

    Args:
        cfg (Config): The config.

    Returns:
        Runner: The runner.
    """
    return ShortStartRunner.from_cfg(cfg) if cfg.get('runner_type', 'Runner') == 'Runner' else RUNNERS.build(cfg)

"""Runners without what no test looks at and each spends most of its time on."""
import functools
from typing import Callable

from mmengine.config import config
from mmengine.runner import runner


def make_runners_quick(setattr: Callable[[object, str, object], None] = setattr) -> None:
    """Configs are logged without yapf's layout, four times for each runner, and the environment is collected once."""
    setattr(config, 'FormatCode', lambda text, **options: (text, True))
    setattr(runner, 'collect_env', functools.cache(runner.collect_env))

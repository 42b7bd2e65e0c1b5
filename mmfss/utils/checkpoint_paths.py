"""Paths of checkpoints: patterns as a shell expands them, and what training left in a working directory."""
import re
from itertools import chain
from pathlib import Path
from typing import Optional, Sequence

from .errors import ConfigError
from .model_index import find_config


def expand_braces(pattern: str) -> list[str]:
    """Expand ``{0..3}`` and ``{a,b}`` like a shell.

    Args:
        pattern (str): A path with any number of braces, not nested.

    Returns:
        list[str]: The paths, the last brace varying fastest.

    Example:
        >>> from mmfss.utils.checkpoint_paths import expand_braces
        >>> expand_braces('fold{0..2}.py')
        ['fold0.py', 'fold1.py', 'fold2.py']
    """
    match = re.search(r'\{(-?\d+)\.\.(-?\d+)\}|\{([^{}]*,[^{}]*)\}', pattern)
    if match is None:
        return [pattern]
    first, last, choices = match.groups()
    if choices is not None:
        values = choices.split(',')
    else:
        step = 1 if int(first) <= int(last) else -1
        values = [str(value) for value in range(int(first), int(last) + step, step)]
    head, tail = pattern[:match.start()], pattern[match.end():]
    return list(chain.from_iterable([head + value + rest for rest in expand_braces(tail)] for value in values))


def split_configs(paths: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Tell the configs from the checkpoints on a command line.

    Args:
        paths (Sequence[str]): Config files (``.py``) and names of models, braces expanded, and patterns of checkpoints;
            ``none`` stands for no checkpoint.

    Returns:
        tuple[list[Path], list[str]]: The configs, and the patterns for :func:`expand_checkpoints`.

    Raises:
        ConfigError: If there is no config, or no model of such a name.

    Example:
        >>> from mmfss.utils.checkpoint_paths import split_configs
        >>> configs, patterns = split_configs(['fold{0..1}.py', 'best_*.pth'])
        >>> [config.name for config in configs], patterns
        (['fold0.py', 'fold1.py'], ['best_*.pth'])
    """
    configs = [find_config(path) for pattern in paths if is_config(pattern) for path in expand_braces(pattern)]
    if not configs:
        raise ConfigError(f'No config (.py) among {", ".join(paths)}: write CONFIG CHECKPOINT.')
    return configs, [pattern for pattern in paths if not is_config(pattern) and pattern != 'none']


def is_config(pattern: str) -> bool:
    """Check whether a path, or a pattern of paths, is a config file or the name of a model, not a checkpoint.

    Example:
        >>> [is_config(text) for text in ('x_fold{0..3}.py', 'dcama_swinb_coco20i_fold{0..3}', 'best_*.pth', 'none')]
        [True, True, False, False]
    """
    if pattern.endswith('.py'):
        return True
    # Of a name nothing is left but letters, digits, hyphens and underscores.
    name = expand_braces(pattern)[0]
    return name != 'none' and re.fullmatch(r'[\w-]+', name) is not None and not Path(name).exists()


def expand_checkpoints(patterns: Sequence[str], num_configs: int) -> list[Path]:
    """Find one checkpoint per config.

    Args:
        patterns (Sequence[str]): Paths with braces and the wildcards ``*`` and ``?``; of several matches the newest
            counts.
        num_configs (int): Number of configs.

    Returns:
        list[Path]: The files, in the order of the patterns.

    Raises:
        FileNotFoundError: If a pattern has no match.
        ConfigError: If their number differs from that of the configs.
    """
    expanded = [path for pattern in patterns for path in expand_braces(pattern)]
    if len(expanded) != num_configs:
        raise ConfigError(f'--checkpoints names {len(expanded)} checkpoints ({", ".join(expanded)}) for {num_configs} '
                          'configs: one for each is needed, in the same order.')
    return [_newest(path) for path in expanded]


def trained_checkpoint(work_dir: Path) -> Optional[Path]:
    """Find the best checkpoint of a working directory, or the last one if none was selected.

    Args:
        work_dir (Path): Working directory of ``tools/train.py``.

    Returns:
        Path, optional: The file; None if there is none.
    """
    for pattern in ('best_*.pth', '*.pth'):
        # A name that begins with a dot is a file that was being written when the run was killed.
        files = [file for file in Path(work_dir).glob(pattern) if not file.name.startswith('.')]
        if files:
            return max(files, key=_time)
    return None


def _newest(pattern: str) -> Path:
    path = Path(pattern)
    if path.is_file():
        return path
    base = Path(path.anchor or '.')
    files = [file for file in base.glob(str(path.relative_to(path.anchor))) if not file.name.startswith('.')]
    if not files:
        raise FileNotFoundError(f'The checkpoint "{pattern}" does not exist.')
    return max(files, key=_time)


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns

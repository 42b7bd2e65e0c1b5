"""Set-up that the commands share: config, working directory, errors, tables."""
import argparse
import os
import re
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Optional, Tuple

from mmengine.config import Config
from mmengine.dist import is_main_process
from prettytable import PrettyTable

from mmfss.utils.checkpoint import UNSAFE_LOAD, CheckpointError
from mmfss.utils.config import load_config
from mmfss.utils.config_options import ConfigError
from mmfss.utils.determinism import prepare_determinism
from mmfss.utils.files import check_writable, print_any_name
from .distributed import leave_distributed, setup_distributed, setup_local_rank


def set_resume_schedule(cfg: Config, resume_schedule: Optional[str]) -> None:
    """Say which schedule a resumed training follows.

    Args:
        cfg (Config): The config, changed in place.
        resume_schedule (str, optional): As for :class:`ExactCheckpointHook`; None leaves that of the config.

    Raises:
        ConfigError: If the config's checkpoint hook cannot do that.
    """
    if resume_schedule is None:
        return
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if hook.get('type') != 'ExactCheckpointHook':
        raise ConfigError(f'--resume-schedule needs default_hooks.checkpoint.type="ExactCheckpointHook", it is '
                          f'"{hook.get("type")}".')
    hook['resume_schedule'] = resume_schedule


def prepare_config(args: argparse.Namespace) -> Config:
    """Read the config of a command and set up processes and the working directory.

    Args:
        args (Namespace): ``config``, ``work_dir``, ``cfg_options`` (dotted keys to values), ``launcher``,
            ``local_rank`` and ``unsafe_load``.

    Returns:
        Config: The config, with ``work_dir`` and ``launcher`` set.

    Raises:
        ConfigError: If the config or a change to it is wrong.
        PermissionError: If the working directory cannot be written to.
    """
    if args.unsafe_load:
        os.environ[UNSAFE_LOAD] = '1'
    setup_local_rank(args.local_rank)
    cfg = load_config(args.config, args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = str(args.work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(default_work_dir(args.config))
    check_writable(Path(cfg.work_dir))
    prepare_determinism(cfg)
    setup_distributed(cfg, args.launcher)
    return cfg


def default_work_dir(config: Path) -> Path:
    """Name the working directory of a config, e.g. ``work_dirs/dcama/swinb_coco20i_fold0``.

    Args:
        config (Path): The config file.

    Returns:
        Path: The folder. The method belongs to it: its configs are called like those of other methods.
    """
    config = Path(config).absolute()
    return Path('work_dirs') / config.parent.name / config.stem


def print_table(title: str, rows: List[Tuple[str, Any]]) -> None:
    """Print a table of two columns, on the main process only.

    Args:
        title (str): The heading.
        rows (list[tuple]): Names and values.
    """
    if is_main_process():
        table = PrettyTable(header=False, title=title, align='l')
        table.add_rows([(name, f'{value:.2f}' if isinstance(value, float) else value) for name, value in rows])
        print(table, flush=True)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a user can put right into one line and an exit status: no traceback for a wrong path or key.

    Errors in files, folders, data, checkpoints and configs (also a class that does not exist, or has no such argument)
    end with status 1, an interruption with 130. Any other error is a defect and keeps its traceback; the environment
    variable ``MMFSS_DEBUG=1`` keeps every traceback. Work that succeeds leaves the process group.

    Names that the terminal cannot show, such as files whose names are not UTF-8, are printed with escapes.
    """
    print_any_name()
    try:
        yield
        leave_distributed()
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        raise SystemExit(130) from None
    except (ConfigError, CheckpointError, OSError, ValueError, KeyError, TypeError) as error:
        message = worker_message(error) if isinstance(error, (OSError, ValueError)) else _of_registry(error)
        if os.environ.get('MMFSS_DEBUG') == '1' or message is None:
            raise
        print(f'error: {message}', file=sys.stderr)
        raise SystemExit(1) from error


def worker_message(error: Exception) -> str:
    """The message of an error without the traceback of the data loader's worker in which it was raised."""
    text = str(error)
    if not re.match(r'Caught \w+ in DataLoader worker process \d+\.\n', text):
        return text
    # The last unindented line that names the error begins its message, which may have several lines.
    starts = list(re.finditer(r'^(?:[A-Za-z_]\w*\.)*[A-Z]\w*: ', text, re.MULTILINE))
    return text[starts[-1].end():].rstrip() if starts else text


def _of_registry(error: Exception) -> Optional[str]:
    """What to say if a config asks for a class that does not exist, or for an argument that a class does not have."""
    if traceback.extract_tb(error.__traceback__)[-1].name != 'build_from_cfg':
        return None
    missing = re.match(r'(\S+) is not in the (\S+) registry', str(error.args[0]))
    if missing is None:
        return f'The config gives a class wrong arguments: {error.args[0]}.'
    name, registry = missing.groups()
    return (f'A `type` in the config is "{name}", which is not in the registry {registry}. Is the name right? A class '
            'of your own must be imported (custom_imports).')

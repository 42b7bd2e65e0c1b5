"""Set-up that the commands share: config, working directory, tables."""
import argparse
import os
from pathlib import Path
from typing import Any, List, Optional, Tuple

from mmengine.config import Config
from mmengine.dist import is_main_process
from prettytable import PrettyTable

from mmfss.utils.checkpoint import UNSAFE_LOAD
from mmfss.utils.config import load_config
from mmfss.utils.config_options import ConfigError
from mmfss.utils.determinism import prepare_determinism
from mmfss.utils.files import check_writable
from mmfss.utils.threads import flush_denormals
from .distributed import setup_distributed, setup_local_rank
from .phases import follow_stage


def set_resume_schedule(cfg: Config, resume_schedule: Optional[str]) -> None:
    """Say which schedule a resumed training follows.

    Args:
        cfg (Config): The config, changed in place.
        resume_schedule (str, optional): As for :class:`ExactCheckpointHook`; None keeps the hook's.

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
    flush_denormals()
    setup_local_rank(args.local_rank)
    cfg = load_config(args.config, args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = str(args.work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(default_work_dir(args.config))
    follow_stage(cfg)
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

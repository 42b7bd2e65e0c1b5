"""Arguments that commands share, and the start of a command's work."""
import argparse
import sys
from pathlib import Path
from typing import Any, Callable, List, Optional

from mmfss.utils.defaults import RESUME_SCHEDULES


class RawOptions(List[str]):
    """``KEY=VALUE`` strings whose values are not parsed yet: MMEngine does that, see :func:`run_command`."""


class OptionsAction(argparse.Action):
    """Collect ``KEY=VALUE ...``; what is not of that form is an error of the command line."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: Optional[str] = None) -> None:
        for value in values:
            if not value.partition('=')[0] or '=' not in value:
                parser.error(f'{option_string} {value}: write KEY=VALUE.')
        setattr(namespace, self.dest, RawOptions([*getattr(namespace, self.dest), *values]))


def add_options(parser: argparse.ArgumentParser, name: str = '--cfg-options', metavar: str = 'KEY=VALUE',
                help: str = 'change keys of the config') -> None:
    """Add an argument that takes ``KEY=VALUE`` pairs.

    Args:
        parser (ArgumentParser): The parser, extended in place.
        name (str): The option.
        metavar (str): What a pair is called.
        help (str): Help of the option.
    """
    parser.add_argument(name, nargs='+', action=OptionsAction, default=RawOptions(), metavar=metavar, help=help)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every command with a runner.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument('--work-dir', type=Path, help='folder of logs and results; default: work_dirs/<config>')
    add_options(parser, help='change keys of the config, e.g. train_dataloader.batch_size=4 (lists: "[a,b]", without '
                'spaces)')
    add_launcher(parser, 'how the processes were started; see dist_train.sh and slurm_train.sh')
    add_unsafe_load(parser)


def add_launcher(parser: argparse.ArgumentParser, help: str) -> None:
    """Add ``--launcher`` and ``--local-rank``.

    Args:
        parser (ArgumentParser): The parser, extended in place.
        help (str): Help of ``--launcher``.
    """
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help=help)
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)


def add_unsafe_load(parser: argparse.ArgumentParser) -> None:
    """Add ``--unsafe-load``.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument(
        '--unsafe-load', action='store_true',
        help='also load checkpoints that hold arbitrary pickled objects; such a file can run any code')


def add_resume_schedule(parser: argparse.ArgumentParser) -> None:
    """Add ``--resume-schedule`` to a command that trains.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument(
        '--resume-schedule', choices=RESUME_SCHEDULES,
        help='what a resumed run does if the config has another schedule than the checkpoint (learning rate, other '
        'settings of the optimizer, param_scheduler): exact (default) is an error that lists the changes; config '
        'follows the new config, as if it had held from the start; checkpoint goes on with the old schedule')


def run_command(run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Run the work of a command; what a user can put right ends with one line and an exit status.

    Args:
        run (Callable): Takes the arguments.
        args (Namespace): The arguments; values of options are parsed in place.
    """
    from mmfss.engine.runner_setup import plain_errors
    from mmfss.utils.config_options import ConfigError, parse_options

    for name, value in vars(args).items():
        if isinstance(value, RawOptions):
            try:
                setattr(args, name, parse_options(value))
            except ConfigError as error:
                print(f'error: --{name.replace("_", "-")} {error}', file=sys.stderr)
                raise SystemExit(2) from error
    with plain_errors():
        _find_configs(args)
        run(args)


def _find_configs(args: argparse.Namespace) -> None:
    """Replace names of models by their config files, in place."""
    from mmfss.apis.model_zoo import find_config

    for key in ('config', 'configs'):
        value = getattr(args, key, None)
        if isinstance(value, Path):
            setattr(args, key, find_config(value))
        elif isinstance(value, list):
            setattr(args, key, [find_config(path) for path in value])

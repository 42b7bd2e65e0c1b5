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


def add_model(parser: argparse.ArgumentParser, config: str = 'config file, e.g. configs/dcama/swinb_coco20i_fold0.py',
              checkpoint: str = 'checkpoint file or address') -> None:
    """Add the positional arguments ``config`` and ``checkpoint``.

    Args:
        parser (ArgumentParser): The parser, extended in place.
        config (str): Help of the config.
        checkpoint (str): Help of the checkpoint.
    """
    parser.add_argument('config', type=Path, help=config)
    parser.add_argument('checkpoint', help=checkpoint)


def add_usable_model(parser: argparse.ArgumentParser) -> None:
    """Add ``config`` and ``checkpoint`` of a model to use, where a model without training has no checkpoint.

    To be read with ``parse_intermixed_args``, which takes a checkpoint that follows an option.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument('config', type=Path, help='config file, e.g. configs/dcama/swinb_coco20i_fold0.py')
    add_optional_checkpoint(parser)


def add_optional_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add ``checkpoint``, None if it is left out or ``none``; see :func:`add_usable_model`.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument('checkpoint', nargs='?', type=lambda value: None if value == 'none' else value,
                        help='checkpoint file or address; left out, or none, for a model that needs no training')


def add_shots(parser: argparse.ArgumentParser) -> None:
    """Add ``--shots``, one number.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument('--shots', type=int, metavar='K', help='supports of each class; default: from the config')


def add_episodes(parser: argparse.ArgumentParser, episodes: str = 'number of episodes; default: from the config',
                 seed: str = 'seed of the episodes; default: from the config') -> None:
    """Add ``--ways``, ``--episodes`` and ``--seed`` of the tested episodes.

    Args:
        parser (ArgumentParser): The parser, extended in place.
        episodes (str): Help of ``--episodes``.
        seed (str): Help of ``--seed``.
    """
    parser.add_argument('--ways', type=int, metavar='N', help='classes of an episode; default: from the config')
    parser.add_argument('--episodes', type=int, help=episodes)
    parser.add_argument('--seed', type=int, help=seed)


def add_device(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """Add ``--batch-size`` and ``--device`` of a command without a runner.

    Args:
        parser (ArgumentParser): The parser, extended in place.
        batch_size (int): Default of ``--batch-size``.
    """
    parser.add_argument('--batch-size', type=int, default=batch_size,
                        help=f'images that go through the model together; default: {batch_size}')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: a GPU if there is one')


def add_upright(parser: argparse.ArgumentParser, masks: str = 'masks') -> None:
    """Add ``--upright`` and ``--no-upright``.

    Args:
        parser (ArgumentParser): The parser, extended in place.
        masks (str): Which masks are meant, for the help.
    """
    parser.add_argument('--upright', action=argparse.BooleanOptionalAction,
                        help=f'{masks} without an EXIF orientation were drawn on the upright picture; --no-upright: on '
                        'the picture as it is stored, without turning it. Needed only where the files do not tell')


def add_region(parser: argparse.ArgumentParser) -> None:
    """Add ``--region`` of a command that explains predictions of own pictures.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument('--region', default='prediction', metavar='REGION',
                        help='with --explain: the part of each picture to explain: prediction (default), all, '
                        'component:X,Y (the connected part of the prediction at a pixel), box:LEFT,TOP,RIGHT,BOTTOM, '
                        'polygon:X,Y,X,Y,X,Y,... or the file of a mask')


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
        'follows the new config, as if it had held from the start; checkpoint continues the old schedule')


def run_command(run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Run the work of a command; an error that a user can correct ends with one line and an exit status.

    Args:
        run (Callable): Takes the arguments.
        args (Namespace): The arguments; values of options are parsed in place.
    """
    from mmfss.utils.config_options import ConfigError, parse_options
    from .errors import plain_errors

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
            setattr(args, key, [find_config(path) if isinstance(path, Path) else path for path in value])

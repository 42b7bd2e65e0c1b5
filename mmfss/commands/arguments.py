"""Arguments that commands share, and the start of a command's work."""
import argparse
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Union

from mmfss.utils.checkpoint_paths import expand_braces, is_config
from mmfss.utils.defaults import RESUME_SCHEDULES
from mmfss.utils.errors import ConfigError
from mmfss.utils.model_index import find_config
from .errors import plain_errors

CONFIG = 'config file, e.g. configs/dcama/swinb_coco20i_fold0.py, or name of a model, e.g. dcama_swinb_coco20i_fold0'


class RawOptions(List[str]):
    """``KEY=VALUE`` strings whose values are not parsed yet: MMEngine does that, see :func:`check_arguments`."""


class ConfigFile(type(Path())):
    """A config file, or the name of a model, which :func:`check_arguments` replaces by its file; or a folder."""


class ConfigName(str):
    """The same, which stays as it was written."""


class ConfigPattern(str):
    """One or several of them, with braces; in a list that may hold checkpoints, too."""


class CheckpointName(str):
    """A checkpoint file or address."""


class InputPath(type(Path())):
    """A file or folder that must exist."""


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


def add_model(parser: argparse.ArgumentParser, config: str = CONFIG,
              checkpoint: str = 'checkpoint file or address') -> None:
    """Add the positional arguments ``config`` and ``checkpoint``.

    Args:
        parser (ArgumentParser): The parser, extended in place.
        config (str): Help of the config.
        checkpoint (str): Help of the checkpoint.
    """
    parser.add_argument('config', type=ConfigFile, help=config)
    parser.add_argument('checkpoint', type=CheckpointName, help=checkpoint)


def add_usable_model(parser: argparse.ArgumentParser) -> None:
    """Add ``config`` and ``checkpoint`` of a model to use, where a model without training has no checkpoint.

    To be read with ``parse_intermixed_args``, which takes a checkpoint that follows an option.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument('config', type=ConfigFile, help=CONFIG)
    add_optional_checkpoint(parser)


def add_optional_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add ``checkpoint``, None if it is left out or ``none``; see :func:`add_usable_model`.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument('checkpoint', nargs='?', type=lambda value: None if value == 'none' else CheckpointName(value),
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


def check_arguments(args: argparse.Namespace) -> argparse.Namespace:
    """Check all that can be checked without PyTorch, so that mistakes are told at once.

    These are values of options, names of models, the syntax of config files, and inputs that do not exist.

    Args:
        args (Namespace): The arguments. Values of options are parsed in place, and names of models become files.

    Returns:
        Namespace: The same.

    Raises:
        SystemExit: After a line that names the mistake.
    """
    with plain_errors():
        for name, value in vars(args).items():
            if isinstance(value, RawOptions):
                setattr(args, name, _parse_options(name, value))
            elif isinstance(value, list):
                setattr(args, name, [_checked(name, item) for item in value])
            else:
                setattr(args, name, _checked(name, value))
    return args


def run_command(run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Run the work of a command; an error that a user can correct ends with one line and an exit status.

    Args:
        run (Callable): Takes the arguments.
        args (Namespace): The arguments, as :func:`check_arguments` returns them.
    """
    with plain_errors():
        run(args)


def _parse_options(name: str, pairs: RawOptions) -> Dict[str, Any]:
    if not pairs:
        return {}
    from mmfss.utils.config_options import parse_options
    try:
        return parse_options(pairs)
    except ConfigError as error:
        print(f'error: --{name.replace("_", "-")} {error}', file=sys.stderr)
        raise SystemExit(2) from error


def _checked(name: str, value: Any) -> Any:
    """Check the value of an argument by its type, and replace the name of a model by its file."""
    if isinstance(value, ConfigFile):
        return value if value.is_dir() else _read_once(value)
    if isinstance(value, ConfigName):
        _read_once(value)
    elif isinstance(value, ConfigPattern):
        for path in filter(is_config, expand_braces(value)):
            _read_once(path)
    elif isinstance(value, InputPath) and not value.exists():
        raise FileNotFoundError(f'The {name.replace("_", " ")} "{value}" does not exist.')
    elif isinstance(value, CheckpointName) and value.endswith('.pth') and '://' not in value:
        if not Path(value).is_file():
            raise FileNotFoundError(f'The checkpoint "{value}" does not exist.')
    return value


def _read_once(config: Union[str, Path]) -> Path:
    """Find a config file, and read it for the sake of the errors."""
    from mmfss.utils.config import load_config
    path = find_config(config)
    load_config(path)
    return path

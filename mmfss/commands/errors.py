"""Errors that a user can correct, in one line."""
import os
import re
import sys
import traceback
import warnings
from contextlib import contextmanager
from functools import partial
from typing import Any, Callable, Iterator, Optional

from mmfss.utils.errors import CheckpointError, ConfigError
from mmfss.utils.files import print_any_name

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn an error that a user can correct into one line and an exit status, without a traceback.

    Errors in files, folders, data, checkpoints and configs (also a class that does not exist, or has no such argument)
    end with status 1, an interruption with 130. Any other error is a defect and keeps its traceback; the environment
    variable ``MMFSS_DEBUG=1`` keeps every traceback. Work that succeeds leaves the process group.

    Names that the terminal cannot show, such as files whose names are not UTF-8, are printed with escapes. Warnings of
    this package are one line, too, without the place in its code.
    """
    print_any_name()
    usual = warnings.formatwarning
    warnings.formatwarning = partial(_format_warning, usual)
    try:
        yield
        if 'mmfss.engine' in sys.modules:  # which alone makes process groups, and takes seconds to import
            from mmfss.engine.distributed import leave_distributed
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
    finally:
        warnings.formatwarning = usual


def _format_warning(usual: Callable[..., str], message: Any, category: type, filename: str, *place: Any) -> str:
    if category is UserWarning and filename.startswith(_PACKAGE):
        return f'warning: {message}\n'
    return usual(message, category, filename, *place)


def worker_message(error: Exception) -> str:
    """Return the message of an error, without the traceback of a data loader's worker that raised it."""
    text = str(error)
    if not re.match(r'Caught \w+ in DataLoader worker process \d+\.\n', text):
        return text
    # The last unindented line that names the error begins its message, which may have several lines.
    starts = list(re.finditer(r'^(?:[A-Za-z_]\w*\.)*[A-Z]\w*: ', text, re.MULTILINE))
    return text[starts[-1].end():].rstrip() if starts else text


def _of_registry(error: Exception) -> Optional[str]:
    """Describe a class in a config that does not exist, or an argument that it does not have; None for other errors."""
    if traceback.extract_tb(error.__traceback__)[-1].name != 'build_from_cfg':
        return None
    missing = re.match(r'(\S+) is not in the (\S+) registry', str(error.args[0]))
    if missing is None:
        return f'The config gives a class wrong arguments: {error.args[0]}.'
    name, registry = missing.groups()
    return (f'A `type` in the config is "{name}", which is not in the registry {registry}. Is the name right? A class '
            'of your own must be imported (custom_imports).')

"""Helpers of dataset converters: atomic placement of files, and errors that name the wrong one."""
import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Callable, Iterable, Sequence, Tuple

from mmengine.utils import track_iter_progress

from mmfss.utils.files import atomic_path, print_any_name


def place_file(source: Path, target: Path, link: bool = False) -> bool:
    """Copy or hard-link a file unless a file of its size is there.

    Args:
        source (Path): The file.
        target (Path): Where to put it; missing folders are made.
        link (bool): Make a hard link instead of a copy.

    Returns:
        bool: Whether anything was written.

    Raises:
        FileNotFoundError: If there is no source.
        OSError: If it cannot be linked, with advice.
    """
    if not source.is_file():
        raise FileNotFoundError(f'The file "{source}" does not exist.')
    if target.is_file() and target.stat().st_size == source.stat().st_size:
        return False
    if link:
        _link(source, target)
    else:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    return True


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        raise OSError(f'"{source}" cannot be linked to "{target}" ({error.strerror}): both must be on one file system. '
                      'Leave out --link to copy.') from error


def place_files(pairs: Sequence[Tuple[Path, Path]], link: bool = False) -> int:
    """Place (source, target) pairs with a progress bar; return how many were written.

    Raises:
        FileNotFoundError: Before anything is written, if a source is missing.
    """
    require_files((source for source, _ in pairs), 'needed')
    written = sum(place_file(source, target, link) for source, target in track_iter_progress(list(pairs)))
    print()
    return written


def require_files(paths: Iterable[Path], what: str) -> None:
    """Raise a FileNotFoundError that names the first missing file and their number."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f'{len(missing)} {what} file(s) do not exist, first "{missing[0]}".')


def run_dataset_converter(convert: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Convert; wrong data ends with its message and status 1, without a traceback."""
    print_any_name()
    try:
        convert(args)
    except (OSError, ValueError) as error:
        print(f'\n{error}', file=sys.stderr)
        raise SystemExit(1) from error

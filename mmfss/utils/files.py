"""Reading of text files of any editor, and atomic writing of files."""
import codecs
import json
import math
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Union

PathLike = Union[str, Path]


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Provide a temporary path beside ``path``, and rename it to ``path`` when the block succeeds.

    Missing parent folders are made. If the block raises, the temporary file is removed and ``path`` is left as it was;
    if the process is killed, ``path`` is left as it was and a file named ``.<stem>.<random><suffix>`` may remain.

    Args:
        path (str | Path): The file to create or replace.

    Yields:
        Path: A sibling of ``path`` with the same suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A stem and the random part together may be longer than a file system allows.
    stem = os.fsdecode(os.fsencode(path.stem)[:100])
    handle, name = tempfile.mkstemp(prefix=f'.{stem}.', suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; a result is as readable as any other file of this user.
        temporary.chmod(0o666 & ~_umask())
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_text(path: PathLike) -> str:
    """Read a text file as UTF-8, with or without a byte order mark, or as UTF-16 with one (as Windows saves "Unicode").

    Args:
        path (str | Path): The file.

    Returns:
        str: Its text; all line ends are LF.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such text; the file is named.
    """
    return decode_text(Path(path).read_bytes(), path)


def decode_text(content: bytes, path: PathLike) -> str:
    """Decode the bytes of a text file: UTF-8, with or without a byte order mark, or UTF-16 with one."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode('utf-16' if wide else 'utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not a text file in UTF-8: {error}. Save it as UTF-8.') from error
    return text.replace('\r\n', '\n').replace('\r', '\n')


def write_text(text: str, path: PathLike) -> None:
    """Write a text as UTF-8, atomically; bytes of file names that are no UTF-8 are escaped.

    Args:
        text (str): The text.
        path (str | Path): The file to create or replace.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding='utf-8', errors='backslashreplace')


def print_any_name() -> None:
    """Let standard output and error escape what they cannot encode, such as file names that are not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


def moved_into(folder: PathLike, path: PathLike) -> Path:
    """Find a file whose path was recorded when its folder was elsewhere.

    Args:
        folder (str | Path): Where the folder is now.
        path (str | Path): The path that was noted.

    Returns:
        Path: The file of that name in the folder if there is one, else the path as noted.
    """
    here = Path(folder) / Path(path).name
    return here if here.is_file() else Path(path)


def dump_json(obj: Any, path: PathLike) -> None:
    """Write ``obj`` as indented, strictly valid JSON, atomically.

    Args:
        obj (Any): Nested dicts, lists and scalars. NumPy scalars and arrays and zero-dimensional tensors become plain
            numbers and lists, paths become strings, NaN and infinities become ``null``.
        path (str | Path): The file to create or replace.
    """
    # Half of a surrogate pair, as which Python reads a byte of a file name that is no UTF-8, can only be escaped.
    write_text(json.dumps(_plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + '\n', path)


def _plain(obj: Any) -> Any:
    if isinstance(obj, dict):
        return {str(key): _plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple, set, frozenset)):
        return [_plain(value) for value in obj]
    if hasattr(obj, 'dtype') and hasattr(obj, 'tolist'):  # arrays and numbers of NumPy, tensors
        return _plain(obj.tolist())
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if isinstance(obj, Path):
        return str(obj)
    return obj


def _umask() -> int:
    # The mask can only be read by setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def check_writable(folder: Path, name: str = 'working directory', option: str = '--work-dir') -> None:
    """Make a folder, and check that files can be written to it.

    Args:
        folder (Path): The folder.
        name (str): How the error calls it.
        option (str): The option that the error suggests to change.

    Raises:
        OSError: If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix='.writable'):
            pass
    except OSError as error:
        raise type(error)(f'The {name} "{folder}" cannot be written to ({error.strerror}). Choose another with '
                          f'{option}.') from error


def check_output_file(path: Path, option: str) -> None:
    """Make the folder of a file, and check that the file can be written. Call it before the work.

    Args:
        path (Path): The file.
        option (str): The option or argument that names it, for the error.

    Raises:
        OSError: If that is not possible.
    """
    if path.is_dir():
        raise IsADirectoryError(f'{option} is a file to write, but "{path}" is a folder: name a file in it.')
    check_writable(path.parent, 'folder', option)

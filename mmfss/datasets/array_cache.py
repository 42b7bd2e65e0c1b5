"""Arrays that are derived from annotations once per machine and kept beside them."""
import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from mmengine.logging import print_log

from mmfss.utils.array_file import ArrayFile, write_arrays

try:
    import fcntl
except ImportError:  # not POSIX: processes that start together may each derive the arrays
    fcntl = None

CACHE_DIR = 'MMFSS_CACHE_DIR'
"""Environment variable: a folder for the arrays where annotations lie in a folder that cannot be written to."""
SUFFIX = '.mmfss'


class Derived(NamedTuple):
    """Arrays, and plain values that describe them."""
    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]


def cache_file(source: Path, kind: str) -> Path:
    """Return where arrays that are derived from a file or folder are kept: a hidden file beside it.

    Args:
        source (Path): The file or folder.
        kind (str): What is derived.
    """
    folder = os.environ.get(CACHE_DIR)
    if folder:
        name = f'{source.name}-{hashlib.sha256(os.fsencode(source.absolute())).hexdigest()[:12]}'
        return Path(folder).expanduser() / f'{name}.{kind}{SUFFIX}'
    return source.parent / f'.{source.name}.{kind}{SUFFIX}'


def cached_arrays(cache: Path, source: Path, is_current: Callable[[Mapping[str, Any]], bool],
                  derive: Callable[[], Derived]) -> Derived:
    """Load derived arrays, or derive and keep them.

    Of processes that start together on one machine, one derives and the others wait for it. Where the cache cannot be
    written, every process derives the arrays for itself.

    Args:
        cache (Path): The file that keeps the arrays.
        source (Path): What they are derived from; processes take turns by its lock.
        is_current (Callable): Whether kept arrays with these plain values belong to the source as it is now.
        derive (Callable): Derives the arrays.

    Returns:
        Derived: The arrays, memory-mapped unless the cache cannot be written.
    """
    kept = _load(cache, is_current)
    if kept is not None:
        return kept
    if not _writable(cache):
        print_log(f'"{cache.parent}" cannot be written to, so that what is read from {source} cannot be kept: every '
                  f'process reads it at every start. {CACHE_DIR}=<folder> keeps it elsewhere.', logger='current')
        return derive()
    with _locked(source):
        # Another process may have derived them meanwhile
        kept = _load(cache, is_current)
        if kept is not None:
            return kept
        derived = derive()
        try:
            write_arrays(cache, derived.arrays, derived.meta)
        except OSError as error:
            print_log(f'What was read from {source} cannot be kept in {cache}: {error}', logger='current')
            return derived
    return _load(cache, lambda meta: True) or derived


def _load(cache: Path, is_current: Callable[[Mapping[str, Any]], bool]) -> Optional[Derived]:
    """Load kept arrays; None if there are none, they are damaged, or their source has changed."""
    try:
        arrays = ArrayFile(cache)
        return Derived(arrays, arrays.meta) if is_current(arrays.meta) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _writable(cache: Path) -> bool:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(cache.parent, os.W_OK)


@contextmanager
def _locked(source: Path) -> Iterator[None]:
    """Hold the lock of a file or folder, where the system can."""
    try:
        handle = os.open(source, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError:  # some network file systems
                pass
        yield
    finally:
        os.close(handle)


def file_state(path: Path) -> Dict[str, int]:
    """Return size and times of a file. The time of the last change of its entry cannot be set by programs."""
    state = os.stat(path)
    return dict(size=state.st_size, mtime_ns=state.st_mtime_ns, ctime_ns=state.st_ctime_ns)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file: about half a second for a gigabyte in memory."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(2**22), b''):
            digest.update(block)
    return digest.hexdigest()


def is_same_file(path: Path, state: Mapping[str, int], digest: str) -> bool:
    """Check whether a file is as it was: by its state if that is unchanged, else by size and checksum.

    Args:
        path (Path): The file.
        state (Mapping): Former result of :func:`file_state`.
        digest (str): Former result of :func:`file_digest`.
    """
    now = file_state(path)
    return now == dict(state) or (now['size'] == state['size'] and file_digest(path) == digest)


def states_digest(paths: Tuple[str, ...]) -> str:
    """Return one checksum of the states of many files; some microseconds for each."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(repr((path, *file_state(Path(path)).values())).encode('utf-8', 'surrogatepass'))
    return digest.hexdigest()

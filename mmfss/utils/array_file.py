"""Files of several NumPy arrays that processes share through memory mapping."""
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import numpy as np

from .files import atomic_path

_MAGIC = b'mmfss-arrays-1\n'
_ALIGNMENT = 64


def write_arrays(path: Union[str, Path], arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write arrays and what describes them to one file, atomically.

    Args:
        path (str | Path): The file to create or replace.
        arrays (Mapping[str, ndarray]): Arrays of numbers, truth values or byte strings.
        meta (Mapping): Plain values that :class:`ArrayFile` returns with them.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    entries, end = [], 0
    for name, array in contiguous.items():
        start = -(-end // _ALIGNMENT) * _ALIGNMENT
        end = start + array.nbytes
        entries.append(dict(name=name, dtype=array.dtype.str, shape=array.shape, start=start))
    header = json.dumps(dict(meta=dict(meta), arrays=entries, num_bytes=end)).encode()
    with atomic_path(path) as temporary, open(temporary, 'wb') as file:
        file.write(_MAGIC + len(header).to_bytes(8, 'little') + header)
        first = _first_byte(len(header))
        for entry, array in zip(entries, contiguous.values()):
            file.seek(first + entry['start'])
            file.write(array.tobytes())
        file.truncate(first + end)


def _first_byte(header_length: int) -> int:
    """Return where the arrays begin."""
    return -(-(len(_MAGIC) + 8 + header_length) // _ALIGNMENT) * _ALIGNMENT


class ArrayFile(Mapping):
    """Memory-map the arrays of a file: processes that open it share its pages, and nobody can change them.

    A pickle holds the path alone, so that spawned workers share the pages too.

    Args:
        path (str | Path): A file of :func:`write_arrays`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no such file, or cut off.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from mmfss.utils.array_file import ArrayFile, write_arrays
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_arrays(f'{folder}/a.arrays', dict(ends=np.arange(3)), dict(unit='bytes'))
        ...     arrays = ArrayFile(f'{folder}/a.arrays')
        >>> arrays['ends'].tolist(), arrays.meta
        ([0, 1, 2], {'unit': 'bytes'})
    """

    def __init__(self, path: Union[str, Path]) -> None:
        self.path = os.path.abspath(path)
        with open(path, 'rb') as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ValueError(f'{path} is no file of arrays.')
            length = int.from_bytes(file.read(8), 'little')
            header = json.loads(file.read(min(length, os.fstat(file.fileno()).st_size)))
            first = _first_byte(length)
            if os.fstat(file.fileno()).st_size != first + header['num_bytes']:
                raise ValueError(f'{path} is cut off.')
            # Views that are plain arrays are indexed faster than those of NumPy's class for mapped files.
            content = np.asarray(np.memmap(file, np.uint8, 'r'))[first:]
        self.meta: dict[str, Any] = header['meta']
        self._arrays: dict[str, np.ndarray] = {}
        for entry in header['arrays']:
            dtype, shape = np.dtype(entry['dtype']), tuple(entry['shape'])
            size = dtype.itemsize * int(np.prod(shape))
            part = content[entry['start']:entry['start'] + size]
            self._arrays[entry['name']] = part.view(dtype).reshape(shape) if size else np.empty(shape, dtype)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __reduce__(self) -> tuple:
        return _open_same, (self.path, self.meta)


def _open_same(path: str, meta: dict[str, Any]) -> ArrayFile:
    """Open the file that was pickled."""
    arrays = ArrayFile(path)
    if arrays.meta != meta:
        raise ValueError(f'{path} was replaced while it was in use: the annotations have changed. Start again.')
    return arrays

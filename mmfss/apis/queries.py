"""Queries as users name them: a picture, several, or a folder."""
from pathlib import Path
from typing import Iterable, Sequence, Union

import numpy as np

from mmfss.datasets.class_indices.folders import IMAGE_SUFFIXES
from mmfss.utils.names import list_names
from .image_transform import ImageInput

Queries = Union[ImageInput, Sequence[ImageInput]]


def list_queries(query: Queries) -> Sequence[ImageInput]:
    """List the pictures that are meant.

    Args:
        query (str | Path | np.ndarray | Sequence): A picture, several pictures, or a folder of pictures.

    Raises:
        FileNotFoundError: If the folder holds no picture.
        ValueError: If it is something else.
    """
    if isinstance(query, np.ndarray):
        return [query]
    if not isinstance(query, (str, Path)):
        if not isinstance(query, Iterable):
            raise ValueError('A query must be the name of a file or folder, a NumPy array, or several of these, got a '
                             f'{type(query).__name__}.')
        return query
    path = Path(query)
    if not path.is_dir():
        return [query]
    files = [path / name for name in list_names(str(path), IMAGE_SUFFIXES).values()]
    if not files:
        raise FileNotFoundError(f'The folder "{path}" holds no image ({", ".join(IMAGE_SUFFIXES)}).')
    return files

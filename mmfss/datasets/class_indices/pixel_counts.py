"""Pixels of each class in each image, counted once per machine."""
import hashlib
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, Optional, Protocol, Sequence, Tuple

import numpy as np

from ..array_cache import Derived, cache_file, cached_arrays, states_digest

FORMAT = 1
MIN_IMAGES = 1000
"""Fewest images whose counts are kept; fewer are counted in a few seconds."""


class Countable(Protocol):
    """What is asked of a :class:`ClassIndex`."""
    data_root: str
    counting_options: Optional[Tuple[Any, ...]]

    def mask_path(self, name: str, class_id: int) -> str:
        """Return the path of a mask."""

    def count_each(self, names: Sequence[str]) -> Iterable[Dict[int, int]]:
        """Count the pixels of each class in images."""


def count_pixels(index: Countable, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Count the pixels of each class in images, or load the counts that were kept.

    They are kept in the data root, in ``.masks.<checksum of the names>.pixels.mmfss``, and counted anew if size or
    times of a mask have changed.

    Args:
        index (ClassIndex): The class index; counts are kept if it has ``counting_options``.
        names (Sequence[str]): n images.

    Returns:
        Mapping[str, ndarray]: ``first`` (n + 1, ), the first entry of each image; ``classes`` and ``pixels``, its
        classes in ascending order.
    """
    if index.counting_options is None or len(names) < MIN_IMAGES:
        return _count(index, names)
    root = Path(index.data_root)
    content = '\n'.join([type(index).__name__, repr(index.counting_options), *names])
    digest = hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()
    states = states_digest(tuple(dict.fromkeys(index.mask_path(name, 0) for name in names)))

    def is_current(meta: Mapping[str, Any]) -> bool:
        return (meta['format'], meta['names'], meta['states']) == (FORMAT, digest, states)

    def derive() -> Derived:
        return Derived(_count(index, names), dict(format=FORMAT, names=digest, states=states))

    return cached_arrays(cache_file(root / 'masks', f'{digest[:12]}.pixels'), root, is_current, derive).arrays


def _count(index: Countable, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    counts = [sorted(found.items()) for found in index.count_each(names)]
    entries = np.array([entry for found in counts for entry in found], np.int64).reshape(-1, 2)
    first = np.concatenate([[0], np.cumsum([len(found) for found in counts])]).astype(np.int64)
    return dict(first=first, classes=entries[:, 0].astype(np.int32), pixels=entries[:, 1])

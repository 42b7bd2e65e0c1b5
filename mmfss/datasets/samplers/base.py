"""Episodes, and the base class of episode samplers."""
import logging
from abc import ABCMeta, abstractmethod
from functools import lru_cache
from typing import Iterable, Iterator, NamedTuple, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log

from mmfss.utils.names import visible
from ..class_lists import ClassLists


class Episode(NamedTuple):
    """One N-way K-shot episode, by name.

    Attributes:
        class_ids (tuple[int, ...]): N distinct classes; label n of the episode is the n-th.
        query (str): Image to be segmented; it shows at least one of the classes.
        supports (tuple[tuple[str, ...], ...]): N tuples of K images, the n-th group shows class n.
    """
    class_ids: Tuple[int, ...]
    query: str
    supports: Tuple[Tuple[str, ...], ...]


class EpisodeSampler(metaclass=ABCMeta):
    """Draw episodes as a pure function of the seed and the episode's index.

    The same index gives the same episode, whatever was drawn before, and for any number of workers or processes.

    Args:
        lists (ClassLists): Images of each class, in list order.
        class_ids (Sequence[int]): Classes to draw from.
        classes (Sequence[str]): Names of all classes, for messages.
        num_ways (int): N, classes of an episode.
        num_shots (int): K, supports of each class.
        num_episodes (int): Number of episodes.
        seed (int): Seed, 0 or more.
        small_classes (str): What to do with a class with too few images: ``'error'``, or ``'skip'`` to leave it out,
            with a warning that names it.

    Raises:
        ValueError: If an argument is out of range, a class has too few images, or fewer than N classes are left.
    """

    def __init__(self,
                 lists: ClassLists,
                 class_ids: Sequence[int],
                 classes: Sequence[str] = (),
                 num_ways: int = 1,
                 num_shots: int = 1,
                 num_episodes: int = 1000,
                 seed: int = 0,
                 small_classes: str = 'error') -> None:
        for key, value in (('num_ways', num_ways), ('num_shots', num_shots), ('num_episodes', num_episodes)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f'{key} must be an integer of 1 or more, got {value!r}.')
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f'seed must be an integer of 0 or more, got {seed!r}.')
        if small_classes not in ('error', 'skip'):
            raise ValueError(f"small_classes must be 'error' or 'skip', got {small_classes!r}.")
        self.classes = classes
        self.num_ways, self.num_shots = int(num_ways), int(num_shots)
        self.num_episodes, self.seed = int(num_episodes), int(seed)
        self.class_ids = self._usable(lists, sorted(class_ids), small_classes)
        left_out = sorted(set(class_ids) - set(self.class_ids))
        if left_out:
            print_log(
                f'No episodes of {", ".join(map(self._name, left_out))}: fewer than {self.min_images} images in the '
                f'list "{lists.source}". They do not count in any figure.',
                logger='current',
                level=logging.WARNING)
        self.lists = lists.select(self.class_ids)

    @property
    @abstractmethod
    def min_images(self) -> int:
        """Minimum number of images of a class."""

    def _usable(self, lists: ClassLists, class_ids: Sequence[int], small_classes: str) -> Tuple[int, ...]:
        # Classes with too few images: an error, or left out
        counts = {class_id: len(set(lists.pool(class_id).tolist())) for class_id in class_ids}
        small = [class_id for class_id in class_ids if counts[class_id] < self.min_images]
        if small and small_classes == 'error':
            others = f' (and {len(small) - 1} more classes)' if len(small) > 1 else ''
            counted = ', '.join(f'{self._name(class_id)}: {counts[class_id]}' for class_id in small[1:10])
            more = f', and {len(small) - 10} more' if len(small) > 10 else ''
            rest = f' The others: {counted}{more}.' if counted else ''
            raise ValueError(
                f'Class {self._name(small[0])} has {counts[small[0]]} image(s){others} in the list "{lists.source}", '
                f'but {self.num_shots}-shot episodes need at least {self.min_images} of each class. Use fewer shots, '
                f"add images, or set sampler.small_classes='skip'.{rest}")
        # Enough classes for an episode
        usable = tuple(class_id for class_id in class_ids if counts[class_id] >= self.min_images)
        if len(usable) < self.num_ways:
            raise ValueError(f'num_ways={self.num_ways}, but only {len(usable)} class(es) have the {self.min_images} '
                             f'images that {self.num_shots}-shot episodes need (list "{lists.source}").')
        return usable

    def _name(self, class_id: int) -> str:
        if class_id >= len(self.classes):
            return f'with id {class_id}'
        return f'"{visible(self.classes[class_id])}" (id {class_id})'

    def __len__(self) -> int:
        return self.num_episodes

    @abstractmethod
    def __getitem__(self, index: int) -> Episode:
        """Return the episode of an index."""

    def __iter__(self) -> Iterator[Episode]:
        return (self[index] for index in range(len(self)))

    def _names(self, images: Iterable[int]) -> Tuple[str, ...]:
        return tuple(self.lists.name(image) for image in images)


def episodes_text(episodes: Iterable[Episode]) -> str:
    """Format 1-way episodes as canonical text: one line ``class_id query support_1 ... support_K`` each.

    Its SHA-256 is what two implementations of the published protocol compare.
    """
    return ''.join(f'{episode.class_ids[0]} {episode.query} {" ".join(episode.supports[0])}\n' for episode in episodes)


def counter_rng(*key: int) -> np.random.RandomState:
    """Create a random source for a key such as (seed, index).

    Counter-based (Philox), so it costs the same for any index; ``RandomState`` because NumPy never changes its stream.
    """
    return np.random.RandomState(np.random.Philox(np.random.SeedSequence(key)))


@lru_cache(maxsize=4)
def pass_order(seed: int, number: int, length: int) -> np.ndarray:
    """Return the random order of the items in pass ``number`` (from 0) over a dataset, shape (length, )."""
    return counter_rng(seed, number).permutation(length)

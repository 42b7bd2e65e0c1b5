"""Sampler that draws each episode uniformly from its own random source."""
from functools import lru_cache
from typing import Any, List, Optional, Set, Tuple

import numpy as np

from mmfss.registry import TASK_UTILS
from .base import Episode, EpisodeSampler, counter_rng


@TASK_UTILS.register_module()
class UniformEpisodeSampler(EpisodeSampler):
    """Draw N distinct classes, a query of one of them, and K distinct supports of each other than the query.

    Episode i is drawn from a random source of its own, keyed by (seed, i): any index of 0 or more can be asked for,
    also beyond ``num_episodes``, at the same small cost. Training draws a new episode in every iteration if its indices
    do not repeat: with :class:`mmfss.datasets.EpisodeStream` they count upwards for ever; with MMEngine's
    ``InfiniteSampler`` make ``num_episodes`` at least iterations x batch size. A resumed run that continues at the same
    index sees the episodes it would have seen.

    The classes of an episode are in random order, so the query's class has no fixed place. A support is not used twice
    in an episode, unless its class has no other images left.

    Args:
        order (str): How class and query are chosen. ``'class'``: the class uniformly, then one of its images (as the
            COCO-20i training of DCAMA and HSNet). ``'list'``: every listed item is the query once per pass over the
            list, each pass in a new random order (as their PASCAL-5i and FSS-1000 training).
        num_episodes (int, optional): Number of episodes; by default one epoch of that training: the number of distinct
            images for ``'class'``, of listed items for ``'list'``.
        **kwargs: See :class:`EpisodeSampler`. A class needs K + 1 images.

    Raises:
        ValueError: If an argument is unknown or out of range, or a class has fewer than K + 1 images.

    Example:
        >>> from mmfss.datasets import ClassLists, UniformEpisodeSampler
        >>> lists = ClassLists.from_dict({0: ['cat1.jpg', 'cat2.jpg', 'cat3.jpg'], 1: ['dog1.jpg', 'dog2.jpg']})
        >>> sampler = UniformEpisodeSampler(lists, class_ids=[0, 1], num_ways=2, num_shots=1, seed=0)
        >>> episode = sampler[7]  # always the same
        >>> sorted(episode.class_ids), len(episode.supports)
        ([0, 1], 2)
        >>> episode.query in sum(episode.supports, ())
        False
    """

    def __init__(self, *args: Any, order: str = 'class', num_episodes: Optional[int] = None, **kwargs: Any) -> None:
        if order not in ('class', 'list'):
            raise ValueError(f"order must be 'class' or 'list', got {order!r}.")
        super().__init__(*args, num_episodes=1 if num_episodes is None else num_episodes, **kwargs)
        self.order = order
        if num_episodes is None:
            self.num_episodes = self.lists.num_images if order == 'class' else len(self.lists)
        # A list may name an image several times; that makes it likelier, not more images.
        self._distinct = {class_id: len(np.unique(self.lists.pool(class_id))) for class_id in self.class_ids}

    @property
    def min_images(self) -> int:
        """The query and K supports."""
        return self.num_shots + 1

    def __getitem__(self, index: int) -> Episode:
        if index < 0:
            raise IndexError(f'Episode indices start at 0, got {index}.')
        rng = counter_rng(self.seed, index)
        query_class, query = self._draw_query(index, rng)
        class_ids = self._draw_classes(query_class, rng)
        used = {query}
        supports = []
        for class_id in class_ids:
            drawn = self._draw_supports(class_id, query, used, rng)
            used.update(drawn)
            supports.append(self._names(drawn))
        return Episode(class_ids, self.lists.name(query), tuple(supports))

    def _draw_query(self, index: int, rng: np.random.RandomState) -> Tuple[int, int]:
        if self.order == 'class':
            class_id = self.class_ids[rng.randint(len(self.class_ids))]
            pool = self.lists.pool(class_id)
            return class_id, int(pool[rng.randint(len(pool))])
        epoch, place = divmod(index, len(self.lists))
        return self.lists.item(_permutation(self.seed, epoch, len(self.lists))[place])

    def _draw_classes(self, query_class: int, rng: np.random.RandomState) -> Tuple[int, ...]:
        if self.num_ways == 1:
            return (query_class, )
        others = [class_id for class_id in self.class_ids if class_id != query_class]
        chosen = [query_class] + [others[place] for place in rng.permutation(len(others))[:self.num_ways - 1]]
        return tuple(chosen[place] for place in rng.permutation(self.num_ways))

    def _draw_supports(self, class_id: int, query: int, used: Set[int], rng: np.random.RandomState) -> List[int]:
        """Draw K distinct images of a class, outside ``used`` if the class has enough images."""
        pool = self.lists.pool(class_id)
        excluded = set(used)
        scarce = self._distinct[class_id] < len(used) + self.num_shots
        if scarce and len(set(pool.tolist()) - used) < self.num_shots:
            excluded = {query}
        drawn: List[int] = []
        # Drawing again on a hit is cheap: most images are free, and at least K are.
        while len(drawn) < self.num_shots:
            image = int(pool[rng.randint(len(pool))])
            if image not in excluded:
                excluded.add(image)
                drawn.append(image)
        return drawn


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return counter_rng(seed, epoch, length).permutation(length)

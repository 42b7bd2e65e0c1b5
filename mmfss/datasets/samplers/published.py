"""Sampler of the test episodes of published few-shot segmentation results (HSNet, DCAMA, DMTNet and others)."""
import re
from functools import cached_property
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import torch

from mmfss.registry import TASK_UTILS
from .base import Episode, EpisodeSampler, counter_rng

Draw = Tuple[int, int, List[int]]
BENCHMARKS = ('pascal', 'coco', 'fss', 'cross_domain')


@TASK_UTILS.register_module()
class PublishedProtocolSampler(EpisodeSampler):
    """Replay the published evaluation protocol.

    With the published lists and seed 0, the episodes are exactly those of the papers.

    One random stream of NumPy's legacy generator runs through the whole list. Therefore the first access draws all
    episodes (under a second) and keeps them. Every draw takes the first entry of a permutation of the pool: the stream
    depends on the sizes and the order of the lists.

    - ``'pascal'``: episode i has item ``i mod n`` of the validation list as class and query.
    - ``'coco'``: a class of the fold, then a query of that class.
    - ``'fss'``: the images of the sorted categories in turn, ten times as many episodes as categories; inside a
      category in string order (1, 10, 2, ...), supports from the pool 1..10.
    - ``'cross_domain'`` (DeepGlobe, ISIC, chest X-ray): episode i has the class ``i mod C``; the query is drawn from
      its list.

    Supports are drawn **with replacement**; only the query is excluded. Therefore a class needs two images, for any K.

    N > 1 (not part of the published protocol): class, query and supports of the 1-way episode are kept for every N. For
    episode i a second source keyed by (seed, i) draws the other N - 1 classes without replacement, their supports with
    replacement (not the query), and the order of the N classes.

    Args:
        benchmark (str): ``'pascal'``, ``'coco'``, ``'fss'`` or ``'cross_domain'``.
        num_episodes (int, optional): By default 1000; for FSS-1000 the number of listed images (2400 in its test set),
            for cross-domain sets 1200. Those papers report the mean over five seeds; the released loaders stop at 600.
        shuffle_seed (int, optional): Go through the indices in the order ``torch.randperm(num_episodes)`` of this seed
            instead of upwards; the random stream runs in that order too. DMTNet's test-time finetuning, in which each
            batch changes the model, was published with 0. Then ``num_episodes`` changes all episodes.
        **kwargs: See :class:`EpisodeSampler`. With ``'pascal'`` a class without any image is no error: it has no
        episode.

    Raises:
        ValueError: If an argument is unknown or out of range, or a class has a single image.

    Example:
        >>> from mmfss.datasets import ClassLists, PublishedProtocolSampler
        >>> lists = ClassLists.from_dict({0: ['cat1.jpg', 'cat2.jpg'], 1: ['dog1.jpg', 'dog2.jpg']})
        >>> sampler = PublishedProtocolSampler(lists, class_ids=[0, 1], benchmark='pascal')
        >>> len(sampler)
        1000
        >>> sampler[2]
        Episode(class_ids=(1,), query='dog1.jpg', supports=(('dog2.jpg',),))
    """

    def __init__(self,
                 *args: Any,
                 benchmark: str = 'pascal',
                 num_episodes: Optional[int] = None,
                 shuffle_seed: Optional[int] = None,
                 **kwargs: Any) -> None:
        if benchmark not in BENCHMARKS:
            raise ValueError(f'benchmark must be one of {", ".join(BENCHMARKS)}, got {benchmark!r}.')
        if shuffle_seed is not None and (isinstance(shuffle_seed, bool) or not isinstance(shuffle_seed, int)):
            raise ValueError(f'shuffle_seed must be an integer or None, got {shuffle_seed!r}.')
        self.benchmark, self.shuffle_seed = benchmark, shuffle_seed
        super().__init__(*args, num_episodes=1 if num_episodes is None else num_episodes, **kwargs)
        if num_episodes is None:
            self.num_episodes = self.published_lengths[0]

    @property
    def published_lengths(self) -> Tuple[int, ...]:
        """Numbers of episodes that published results were measured on, the papers' first."""
        if self.benchmark == 'fss':
            return (len(self.lists), )
        return (1200, 600) if self.benchmark == 'cross_domain' else (1000, )

    @property
    def min_images(self) -> int:
        """The query and one other image; supports may repeat."""
        return 2

    def _usable(self, lists: Any, class_ids: Any, small_classes: str) -> Tuple[int, ...]:
        if self.benchmark == 'pascal':
            class_ids = [class_id for class_id in class_ids if len(lists.pool(class_id))]
        return super()._usable(lists, class_ids, small_classes)

    def __getitem__(self, index: int) -> Episode:
        if not 0 <= index < len(self):
            raise IndexError(f'Episode {index} of {len(self)}.')
        class_id, query, supports = self._draws[index]
        if self.num_ways == 1:
            return Episode((class_id, ), self.lists.name(query), (self._names(supports), ))
        return self._widen(index, class_id, query, supports)

    def _widen(self, index: int, class_id: int, query: int, supports: List[int]) -> Episode:
        """Add N - 1 classes to a 1-way episode and shuffle the classes."""
        rng = counter_rng(self.seed, index)
        others = [other for other in self.class_ids if other != class_id]
        groups = {class_id: supports}
        for place in rng.permutation(len(others))[:self.num_ways - 1]:
            pool = self.lists.pool(others[place])
            pool = pool[pool != query]
            groups[others[place]] = pool[rng.randint(len(pool), size=self.num_shots)].tolist()
        ordered = [list(groups)[place] for place in rng.permutation(self.num_ways)]
        return Episode(tuple(ordered), self.lists.name(query), tuple(self._names(groups[key]) for key in ordered))

    @cached_property
    def _draws(self) -> List[Draw]:
        """Draw class, query and supports of every 1-way episode."""
        rng = np.random.RandomState(self.seed)
        pools = self._support_pools()
        draw_query = dict(
            pascal=self._listed_query,
            fss=self._listed_query,
            coco=self._random_query,
            cross_domain=self._query_in_turn)[self.benchmark]
        draws = []
        for index in self._order():
            class_id, query = draw_query(index, rng)
            draws.append((class_id, query, self._draw_supports(pools[class_id], query, rng)))
        return draws

    def _order(self) -> List[int]:
        """Return the indices in the order in which episodes are drawn."""
        if self.shuffle_seed is None:
            return list(range(self.num_episodes))
        generator = torch.Generator().manual_seed(self.shuffle_seed)
        return torch.randperm(self.num_episodes, generator=generator).tolist()

    def _support_pools(self) -> Dict[int, np.ndarray]:
        pools = {class_id: self.lists.pool(class_id) for class_id in self.class_ids}
        if self.benchmark == 'fss':
            # The protocol draws a number: pools run 1, 2, ..., 10 although the queries run 1, 10, 2, ...
            number = _number_of(self.lists.name)
            pools = {class_id: np.array(sorted(pool.tolist(), key=number)) for class_id, pool in pools.items()}
        return pools

    def _listed_query(self, index: int, rng: np.random.RandomState) -> Tuple[int, int]:
        return self.lists.item(index % len(self.lists))

    def _random_query(self, index: int, rng: np.random.RandomState) -> Tuple[int, int]:
        class_id = self.class_ids[_choice(rng, len(self.class_ids))]
        pool = self.lists.pool(class_id)
        return class_id, int(pool[_choice(rng, len(pool))])

    def _query_in_turn(self, index: int, rng: np.random.RandomState) -> Tuple[int, int]:
        class_id = self.class_ids[index % len(self.class_ids)]
        pool = self.lists.pool(class_id)
        return class_id, int(pool[_choice(rng, len(pool))])

    def _draw_supports(self, pool: np.ndarray, query: int, rng: np.random.RandomState) -> List[int]:
        """Draw K images other than the query; a rejected draw consumes random numbers, as in the protocol."""
        supports: List[int] = []
        while len(supports) < self.num_shots:
            image = int(pool[_choice(rng, len(pool))])
            if image != query:
                supports.append(image)
        return supports

    def __getstate__(self) -> Dict[str, Any]:
        """Drop the drawn list: a worker draws it faster than it is sent."""
        return {key: value for key, value in self.__dict__.items() if key != '_draws'}


def _choice(rng: np.random.RandomState, size: int) -> int:
    """Make one draw of the protocol: ``choice(pool, 1, replace=False)`` shuffles all places and takes the first."""
    return int(rng.permutation(size)[0])


def _number_of(name_of: Callable[[int], str]) -> Callable[[int], Tuple[int, str]]:
    """Return a sort key of image numbers: the number in the file name."""

    def key(image: int) -> Tuple[int, str]:
        name = name_of(image)
        digits = re.findall(r'\d+', name.rsplit('/', 1)[-1])
        return (int(digits[0]) if digits else 0, name)

    return key

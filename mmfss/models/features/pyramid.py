"""The intermediate features of a batch of images."""
from dataclasses import dataclass
from itertools import islice
from typing import Callable, Hashable, Iterable, Iterator, Optional, Sequence, TypeVar

import torch
from torch import Tensor

from ..layers.pytrees import pytree

T = TypeVar('T')


@pytree
@dataclass(frozen=True)
class FeaturePyramid:
    """Hold the feature maps of a batch of images, grouped in levels of one resolution each.

    Attributes:
        levels (tuple[tuple[Tensor, ...], ...]): Levels from fine to coarse; in each the maps of its layers in network
            order, each of shape (B, C, h, w). The levels of a convolutional network have strides 4, 8, 16 and 32.
        images (Tensor, optional): The normalized images themselves, (B, 3, H, W), for models that look at them again.

    Example:
        >>> import torch
        >>> from mmfss.models import FeaturePyramid
        >>> pyramid = FeaturePyramid(((torch.rand(3, 8, 16, 16), ), (torch.rand(3, 16, 8, 8), torch.rand(3, 16, 8, 8))))
        >>> pyramid.sizes
        ((16, 16), (8, 8))
        >>> query, support = pyramid.split([1, 2])
        >>> support.batch_size
        2
    """
    levels: tuple[tuple[Tensor, ...], ...]
    images: Optional[Tensor] = None

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, level: int) -> tuple[Tensor, ...]:
        return self.levels[level]

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return iter(self.levels)

    @property
    def batch_size(self) -> int:
        """Number of images, B."""
        return self.levels[0][0].shape[0]

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Size (h, w) of each level."""
        return tuple(tuple(level[0].shape[-2:]) for level in self.levels)

    def map(self, function: Callable[[Tensor], Tensor]) -> 'FeaturePyramid':
        """Apply a function to every map, and to the images."""
        images = None if self.images is None else function(self.images)
        return FeaturePyramid(tuple(tuple(function(feature) for feature in level) for level in self.levels), images)

    def split(self, sizes: Sequence[int]) -> tuple['FeaturePyramid', ...]:
        """Split the batch into consecutive parts; the parts are views.

        Args:
            sizes (Sequence[int]): Number of images of each part, summing to B.
        """
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return tuple(self.map(lambda feature, a=a, n=n: feature[a:a + n]) for a, n in zip(starts, sizes))

    @staticmethod
    def cat(pyramids: Sequence['FeaturePyramid']) -> 'FeaturePyramid':
        """Join the batches of several pyramids; a single one is returned as it is."""
        if len(pyramids) == 1:
            return pyramids[0]
        images = [pyramid.images for pyramid in pyramids]
        return FeaturePyramid(tuple(tuple(torch.cat(maps) for maps in zip(*levels)) for levels in zip(*pyramids)),
                              None if any(image is None for image in images) else torch.cat(images))

    @staticmethod
    def join(pyramids: Iterable['FeaturePyramid']) -> 'FeaturePyramid':
        """Join the batches of pyramids without images as :meth:`cat`; map by map, so that none but one is held twice.

        Args:
            pyramids (Iterable[FeaturePyramid]): A generator, or who else keeps no reference to them.
        """
        counts, parts = [], []
        for pyramid in pyramids:
            counts = [len(level) for level in pyramid]
            parts.append([feature for level in pyramid for feature in level])
        del pyramid
        if len(parts) == 1:
            maps = iter(parts[0])
        else:
            maps = iter([torch.cat([part.pop(0) for part in parts]) for _ in range(sum(counts))])
        return FeaturePyramid(tuple(tuple(islice(maps, count)) for count in counts))

    def expand(self, batch_size: int) -> 'FeaturePyramid':
        """Expand the features of one image to a batch of ``batch_size``, without copying."""
        expanded = self.map(lambda feature: feature.expand(batch_size, -1, -1, -1))
        expanded.__dict__['_source'] = self.source
        return expanded

    @property
    def source(self) -> 'FeaturePyramid':
        """The pyramid that this one was expanded from, or this one."""
        return self.__dict__.get('_source', self)

    def once(self, key: Hashable, compute: Callable[['FeaturePyramid'], T]) -> T:
        """Compute something from the features once, and keep it as long as they live.

        Expanded pyramids share the result of their source: a query is clustered once for all its ways, supports and
        perturbed supports. Threads that ask at the same moment may each compute it; all get one result.

        Args:
            key (Hashable): What is computed, with the options that it depends on.
            compute (Callable): A deterministic function of :attr:`source`.
        """
        results = self.source.__dict__.setdefault('_results', {})
        if key not in results:
            results.setdefault(key, compute(self.source))
        return results[key]

    def select(self, index: Tensor) -> 'FeaturePyramid':
        """Select images of the batch in the order of ``index``, which may repeat them."""
        return self.map(lambda feature: feature[index])

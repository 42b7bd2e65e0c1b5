"""Lists of the images of each class, from which episodes are drawn."""
from typing import Iterable, Mapping, Sequence, Tuple

import numpy as np


class ClassLists:
    """Hold an ordered list of (class, image) items.

    An image occurs once per class it shows. Kept as arrays, so that the lists of COCO take a few megabytes and travel
    to worker processes as they are.

    Args:
        class_ids (Sequence[int]): Class of each item, M ints.
        names (Sequence[str]): Image of each item, M names.
        source (str): Where the lists come from, for people: reports print it.
        official (bool): Whether they are the published lists, recognized by checksum.

    Raises:
        ValueError: If the two sequences differ in length.

    Example:
        >>> from mmfss.datasets import ClassLists
        >>> lists = ClassLists.from_dict({0: ['a.jpg', 'b.jpg'], 1: ['b.jpg', 'c.jpg']})
        >>> len(lists), lists.num_images
        (4, 3)
        >>> lists.without_images_of(ClassLists.from_dict({1: ['c.jpg']}), 'other images').num_images
        2
    """

    def __init__(self,
                 class_ids: Sequence[int],
                 names: Sequence[str],
                 source: str = 'given',
                 official: bool = False) -> None:
        if len(class_ids) != len(names):
            raise ValueError(f'{len(class_ids)} class ids for {len(names)} image names.')
        self.class_ids = np.asarray(class_ids, dtype=np.int32).reshape(-1)
        self.names, images = np.unique(np.asarray(names, dtype=str), return_inverse=True)
        self.images = images.astype(np.int32).reshape(-1)
        self.source = source
        self.official = official
        # A stable sort keeps the list order inside a class; the published protocol depends on it.
        order = np.argsort(self.class_ids, kind='stable')
        found, starts = np.unique(self.class_ids[order], return_index=True)
        self._pools = dict(zip(found.tolist(), np.split(self.images[order], starts[1:])))

    @classmethod
    def from_pairs(cls,
                   pairs: Iterable[Tuple[int, str]],
                   source: str = 'given',
                   official: bool = False) -> 'ClassLists':
        """Make lists of (class id, image name) pairs, in their order."""
        pairs = list(pairs)
        return cls([pair[0] for pair in pairs], [pair[1] for pair in pairs], source, official)

    @classmethod
    def from_dict(cls,
                  lists: Mapping[int, Sequence[str]],
                  source: str = 'given',
                  official: bool = False) -> 'ClassLists':
        """Make lists of a mapping from class id to image names; items are ordered by class id."""
        ordered = sorted(lists)
        class_ids = np.repeat(np.asarray(ordered, dtype=np.int32), [len(lists[key]) for key in ordered])
        return cls(class_ids, [name for key in ordered for name in lists[key]], source, official)

    def __len__(self) -> int:
        return len(self.class_ids)

    @property
    def num_images(self) -> int:
        """Number of distinct images."""
        return len(self.names)

    def item(self, index: int) -> Tuple[int, int]:
        """Return class id and image number of the item at a place of the list."""
        return int(self.class_ids[index]), int(self.images[index])

    def pool(self, class_id: int) -> np.ndarray:
        """Return the image numbers (indices into ``names``) of one class in list order; empty for an unlisted class."""
        return self._pools.get(class_id, np.empty(0, np.int32))

    def name(self, image: int) -> str:
        """Return the name of an image number."""
        return str(self.names[image])

    def images_of(self, class_id: int) -> Sequence[str]:
        """Return the image names of one class in list order."""
        return self.names[self.pool(class_id)].tolist()

    def select(self, class_ids: Sequence[int]) -> 'ClassLists':
        """Keep the items of some classes, in the same order."""
        keep = np.isin(self.class_ids, np.asarray(class_ids, dtype=np.int32))
        return ClassLists(self.class_ids[keep], self.names[self.images[keep]], self.source, self.official)

    def without_images_of(self, other: 'ClassLists', what: str) -> 'ClassLists':
        """Leave out every image that other lists hold.

        Args:
            other (ClassLists): The other lists.
            what (str): What the other lists show, for the source of the result, e.g. ``'tested classes'``.

        Returns:
            ClassLists: The other items, in the same order; they are not the published lists.
        """
        keep = ~np.isin(self.names, other.names)[self.images]
        return ClassLists(self.class_ids[keep], self.names[self.images[keep]], f'{self.source}, images without {what}')

"""Sampler of the episodes that a file lists."""
import ast
import csv
import io
import os
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from mmfss.registry import TASK_UTILS
from mmfss.utils.files import read_text
from mmfss.utils.names import normal_name
from .base import Episode, EpisodeSampler

COLUMNS = ('image_ids', 'classes')


@TASK_UTILS.register_module()
class FixedEpisodeSampler(EpisodeSampler):
    """Read 1-way K-shot episodes from a CSV file, as published with AffEx.

    A row is one episode, or a batch of them: column ``image_ids`` lists the images, the query first, column ``classes``
    the class numbers of each of them::

        "[['data/LungSegmentation/masks/MCUCXR_0001_0.png', '.../MCUCXR_0002_0.png']]","[[[1], [1]]]"

    An image is given by a path that ends in the name of an image; by a tuple that begins with one; or, with
    ``name_format``, by a number. Where an image has several class numbers the last one counts (the published lists
    of DeepGlobe put a 0 before each).

    Args:
        path (str): The file.
        rename (Mapping[str, str]): What to replace in a path, where the file lists masks and the names are images.
        name_format (str, optional): Name of an image given by a number, e.g.
            ``'val2014/COCO_val2014_%012d.jpg'``.
        class_numbers (int | Sequence[int]): The number of class id 0 where numbers are contiguous, or the number of
            every class in the order of the ids, e.g. the category ids of COCO.
        num_episodes (int, optional): The first so many; all by default.
        **kwargs: See :class:`EpisodeSampler`. Classes without an episode in the file are not tested and do not count.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming file and row, if a row is malformed, names an unknown image or class, or has another number
            of supports than ``num_shots``; also if episodes of more ways or more episodes than listed are wanted.

    Example:
        >>> import tempfile
        >>> from mmfss.datasets import ClassLists, FixedEpisodeSampler
        >>> lists = ClassLists.from_dict({0: ['cat1.jpg', 'cat2.jpg']})
        >>> images, classes = [['data/cat2.jpg', 'data/cat1.jpg']], [[[1], [1]]]
        >>> with tempfile.NamedTemporaryFile('w+', suffix='.csv') as file:
        ...     print('image_ids,classes', file=file)
        ...     print(f'"{images}","{classes}"', file=file, flush=True)
        ...     sampler = FixedEpisodeSampler(lists, class_ids=[0], path=file.name)
        >>> sampler[0]
        Episode(class_ids=(0,), query='cat2.jpg', supports=(('cat1.jpg',),))
    """

    def __init__(self,
                 *args: Any,
                 path: str,
                 rename: Optional[Mapping[str, str]] = None,
                 name_format: Optional[str] = None,
                 class_numbers: Union[int, Sequence[int]] = 1,
                 num_episodes: Optional[int] = None,
                 **kwargs: Any) -> None:
        super().__init__(*args, num_episodes=1 if num_episodes is None else num_episodes, **kwargs)
        if self.num_ways != 1:
            raise ValueError(f'The episodes of a file are 1-way, got num_ways={self.num_ways}.')
        self.path = os.path.expanduser(path)
        self.rename, self.name_format = dict(rename or {}), name_format
        self.episodes = self._read(self._class_ids_of(class_numbers))
        if num_episodes is not None and num_episodes > len(self.episodes):
            raise ValueError(f'num_episodes={num_episodes}, but "{path}" lists {len(self.episodes)} episodes.')
        self.episodes = self.episodes[:num_episodes]
        self.num_episodes = len(self.episodes)
        self.class_ids = tuple(sorted({episode.class_ids[0] for episode in self.episodes}))

    @property
    def min_images(self) -> int:
        """0: the images of the file are checked instead."""
        return 0

    def __getitem__(self, index: int) -> Episode:
        if not 0 <= index < len(self):
            raise IndexError(f'Episode {index} of {len(self)}.')
        return self.episodes[index]

    def _class_ids_of(self, numbers: Union[int, Sequence[int]]) -> Dict[int, int]:
        """Map class numbers to class ids."""
        if isinstance(numbers, int):
            return {class_id + numbers: class_id for class_id in self.class_ids}
        if len(numbers) <= max(self.class_ids):
            raise ValueError(f'class_numbers has {len(numbers)} entries; it needs one for each class, and class ids go '
                             f'up to {max(self.class_ids)}.')
        return {numbers[class_id]: class_id for class_id in self.class_ids}

    def _read(self, class_ids: Mapping[int, int]) -> List[Episode]:
        if not os.path.isfile(self.path):
            raise FileNotFoundError(f'The episode file "{self.path}" does not exist.')
        known = {normal_name(str(name)): str(name) for name in self.lists.names}
        episodes = []
        for line, row in self._rows():
            try:
                episodes += [self._episode(*pair, known, class_ids) for pair in _episodes_of(row)]
            except ValueError as error:
                raise ValueError(f'The episode file "{self.path}", line {line}: {error}') from error
        if not episodes:
            raise ValueError(f'The episode file "{self.path}" lists no episode.')
        return episodes

    def _rows(self) -> Iterator[Tuple[int, Mapping[str, Optional[str]]]]:
        """Yield (number of the last line, row) of each row."""
        try:
            reader = csv.DictReader(io.StringIO(read_text(self.path), newline=''))
            columns = reader.fieldnames or ()
            if set(COLUMNS) <= set(columns):
                yield from ((reader.line_num, row) for row in reader)
                return
        except (csv.Error, ValueError) as error:
            raise ValueError(f'The episode file "{self.path}" is not a CSV file that can be read: {error}') from error
        raise ValueError(f'The episode file "{self.path}" must have the columns {", ".join(COLUMNS)}; it has '
                         f'{", ".join(columns) or "none"}.')

    def _episode(self, images: Sequence[Any], classes: Sequence[Any], known: Mapping[str, str],
                 class_ids: Mapping[int, int]) -> Episode:
        if len(images) != self.num_shots + 1:
            raise ValueError(f'{len(images) - 1} support(s) are listed, but num_shots={self.num_shots}. Use the file '
                             'of that number of shots, or set num_shots.')
        numbers = {_last(entry) for entry in classes}
        if len(numbers) != 1 or len(classes) != len(images):
            raise ValueError(f'all images of an episode must have one class, got {classes}.')
        number = numbers.pop()
        if number not in class_ids:
            raise ValueError(f'unknown class number {number!r}; known are {sorted(class_ids)}. Set class_numbers to '
                             'how the file numbers the classes.')
        query, *supports = [self._name(image, known) for image in images]
        return Episode((class_ids[number], ), query, (tuple(supports), ))

    def _name(self, image: Any, known: Mapping[str, str]) -> str:
        """Find the image name at the end of a path; ``known`` maps composed names to names."""
        if isinstance(image, (tuple, list)) and image:
            image = image[0]
        if isinstance(image, int) and self.name_format:
            image = self.name_format % image
        path = normal_name(str(image)).replace('\\', '/')
        for old, new in self.rename.items():
            path = path.replace(old, new)
        # Leave out leading folders until the name is known
        while path not in known:
            _, slash, path = path.partition('/')
            if not slash:
                raise ValueError(f'the image {image!r} is not in the list "{self.lists.source}". Complete the data, or '
                                 'set rename or name_format to how the file names images.')
        return known[path]


def _episodes_of(row: Mapping[str, Optional[str]]) -> List[Tuple[Sequence[Any], Sequence[Any]]]:
    """Parse (images, classes of each image) of every episode in a row."""
    try:
        images, classes = (ast.literal_eval(row[column] or '') for column in COLUMNS)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f'not lists of Python literals: {error}') from error
    if not isinstance(images, list) or not isinstance(classes, list) or not images:
        raise ValueError('a row must hold a list of images and a list of their classes.')
    if not isinstance(images[0], list):
        return [(images, classes)]
    if len(images) != len(classes):
        raise ValueError(f'{len(images)} lists of images for {len(classes)} lists of classes.')
    return list(zip(images, classes))


def _last(entry: Any) -> Any:
    return entry[-1] if isinstance(entry, (list, tuple)) and entry else entry

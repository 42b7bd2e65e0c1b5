"""Dataset of episodes: class index, fold split, sampler and pipeline."""
import copy
import random
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmcv.transforms import Compose
from torch.utils.data import Dataset

from mmfss.registry import DATASETS, TASK_UTILS, TRANSFORMS
from .class_indices import CHECK_DATASET, ClassIndex
from .class_lists import ClassLists
from .folds import check_classes_of, check_split, fold_classes, make_folds, resolve_classes
from .samplers import Episode, EpisodeSampler
from .split_lists import check_class_ids, read_coco_list, read_pascal_list

Folds = Union[Dict[str, Any], Sequence[Sequence[Union[int, str]]]]


@DATASETS.register_module()
class EpisodicDataset(Dataset):
    """Draw N-way K-shot episodes from any class index.

    Item i is a pure function of the data, the arguments and i. The episode comes from the sampler. Random transforms
    draw from random sources seeded with (seed, i), whose states are restored afterwards. Workers, processes and the
    order of access do not matter.

    Args:
        index (dict | ClassIndex): The class index, e.g. ``dict(type='PascalVOCIndex', data_root=...)``.
        pipeline (Sequence[dict]): Transforms of an episode, ending in ``PackEpisodeInputs``.
        split (str): ``'train'`` (classes of the other folds), ``'val'`` or ``'test'`` (classes of the fold).
        classes_of (str, optional): ``'train'`` with ``split='val'``: validate on the training classes of the fold, so
            that what is chosen by validation (the best checkpoint, say) is not chosen on the tested classes. Images
            that the split lists for a tested class are left out. By default the classes are those of ``split``, as in
            the published protocols, where validation shows the tested classes.
        fold (int, optional): The fold; None uses all classes in every split.
        folds (dict | Sequence, optional): How classes are dealt to folds: ``dict(num_folds=4, scheme='modulo')`` (the
            default) or ``'contiguous'``, see :func:`make_folds`, or the classes of each fold, as names or ids.
        class_ids (Sequence[int | str], optional): Classes of this split, as names or ids; replaces the fold's.
        list_files (str | Sequence[str], optional): Split lists (``.txt``: lines ``<image>__<class from 01>``; ``.pkl``,
            ``.json``, ``.json.gz``: images by class id), read in the order given. None builds them from the
            annotations.
        num_ways (int): N.
        num_shots (int): K.
        sampler (dict, optional): The episode sampler; a ``UniformEpisodeSampler`` by default.
        num_episodes (int, optional): Replaces the sampler's ``num_episodes``.
        seed (int, optional): Replaces the sampler's ``seed``.
        min_pixels (int): Smallest object that makes an image count when lists are built from the annotations.
        check_files (bool): Make sure at the start that all listed files exist. Folders are listed, no file is opened:
            some seconds for 100,000 files.
        dataset_name (str, optional): Name for reports; the name of the class index by default.
        with_sampler (bool): False makes no sampler, so that there are lists but no episodes: for tools that look at
            the data.

    Raises:
        FileNotFoundError: If data or lists are missing.
        ValueError: If fold, class, split or an episode argument is wrong, or a class has too few images.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mmfss.datasets import EpisodicDataset
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for part in ('mug/images', 'mug/masks', 'spoon/images', 'spoon/masks'):
        ...         (Path(root) / part).mkdir(parents=True)
        ...         for number in range(3):
        ...             (Path(root) / part / f'{number}.png').touch()
        ...     index = dict(type='ImageFolderIndex', data_root=root, check_files=False)
        ...     # Without transforms an item names its images; see ImageFolderDataset for tensors.
        ...     dataset = EpisodicDataset(index, [], class_ids=['mug', 'spoon'], num_ways=2, num_episodes=10)
        ...     item = dataset[0]
        >>> len(dataset), item['class_names'], item['query']['name']
        (10, ['spoon', 'mug'], 'spoon/images/2.png')
        >>> [[image['name'] for image in group] for group in item['support']]
        [['spoon/images/1.png'], ['mug/images/0.png']]
    """

    SPLITS_SHARE_CLASSES = True
    """Whether validation by default shows the classes of the test."""

    def __init__(self,
                 index: Union[Dict, ClassIndex],
                 pipeline: Sequence[Dict],
                 split: str = 'test',
                 fold: Optional[int] = 0,
                 folds: Optional[Folds] = None,
                 class_ids: Optional[Sequence[Union[int, str]]] = None,
                 list_files: Optional[Union[str, Sequence[str]]] = None,
                 num_ways: int = 1,
                 num_shots: int = 1,
                 sampler: Optional[Dict] = None,
                 num_episodes: Optional[int] = None,
                 seed: Optional[int] = None,
                 min_pixels: int = 1,
                 check_files: bool = True,
                 dataset_name: Optional[str] = None,
                 classes_of: Optional[str] = None,
                 with_sampler: bool = True) -> None:
        # Classes of the split
        self.index = DATASETS.build(index) if isinstance(index, dict) else index
        check_split(split)
        check_classes_of(classes_of, split, fold, class_ids)
        self.split, self.fold, self.classes_of = split, fold, classes_of or split
        self.class_ids = self._classes_of_split(folds, class_ids)
        # Images of each class
        self.lists = self._load_lists(list_files, min_pixels)
        if self.classes_of != split:
            tested = copy.copy(self)
            tested.classes_of = split
            tested.class_ids = tested._classes_of_split(folds, class_ids)
            self.lists = self.lists.without_images_of(tested._load_lists(list_files, min_pixels), 'tested classes')
        if check_files:
            self.index.check_files(self.lists, f'The list "{self.lists.source}"')
        # Episodes
        self._sampler_options = (sampler, num_ways, num_shots, num_episodes, seed)
        if with_sampler:
            self.sampler = self.build_sampler()
        self.pipeline = Compose([TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline])
        self.dataset_name = dataset_name or type(self.index).__name__.removesuffix('Index')

    def _classes_of_split(self, folds: Optional[Folds],
                          class_ids: Optional[Sequence[Union[int, str]]]) -> Tuple[int, ...]:
        names = self.index.classes
        if class_ids is not None:
            return resolve_classes(class_ids, names)
        if self.fold is None and not isinstance(folds, (list, tuple)):
            return tuple(range(len(names)))  # There may be fewer classes than folds.
        if folds is None or isinstance(folds, dict):
            groups = make_folds(len(names), **(folds or dict(num_folds=4, scheme='modulo')))
        else:
            groups = [resolve_classes(group, names) for group in folds]
        return fold_classes(groups, self.fold, self.classes_of)

    def _load_lists(self, list_files: Optional[Union[str, Sequence[str]]], min_pixels: int) -> ClassLists:
        """Load the items of this split's classes."""
        if list_files is None:
            return self.index.build_lists(self.class_ids, min_pixels)
        files = [list_files] if isinstance(list_files, str) else list(list_files)
        pairs: List[Tuple[int, str]] = []
        for path in files:
            if path.endswith('.txt'):
                pairs += read_pascal_list(path, len(self.index.classes))
            else:
                lists = read_coco_list(path)
                check_class_ids(lists, len(self.index.classes), path)
                pairs += [(class_id, name) for class_id in sorted(lists) for name in lists[class_id]]
        return ClassLists.from_pairs(pairs, source=', '.join(files)).select(self.class_ids)

    def build_sampler(self) -> EpisodeSampler:
        """Build the sampler of the current lists.

        Raises:
            ValueError: If an episode argument is wrong, or classes have too few images.
        """
        return self._build_sampler(*self._sampler_options)

    def _build_sampler(self, sampler: Optional[Dict], num_ways: int, num_shots: int, num_episodes: Optional[int],
                       seed: Optional[int]) -> Any:
        sampler = dict(sampler or dict(type='UniformEpisodeSampler', num_episodes=1000))
        for key, value in (('num_episodes', num_episodes), ('seed', seed)):
            if value is not None:
                sampler[key] = value
        return TASK_UTILS.build(
            sampler,
            default_args=dict(
                lists=self.lists,
                class_ids=self.class_ids,
                classes=self.index.classes,
                num_ways=num_ways,
                num_shots=num_shots))

    @property
    def metainfo(self) -> Dict[str, Any]:
        """Metainfo for reports and metrics, see the keys."""
        return dict(
            dataset_name=self.dataset_name,
            classes=self.index.classes,
            fold=self.fold,
            split=self.split,
            classes_of=self.classes_of,
            # Of the sampler: a class that it skips for lack of images is not tested and does not count.
            fold_class_ids=list(self.sampler.class_ids),
            num_ways=self.sampler.num_ways,
            num_shots=self.sampler.num_shots,
            num_episodes=len(self.sampler),
            seed=self.sampler.seed,
            sampler=type(self.sampler).__name__,
            lists=self.lists.source,
            lists_official=self.lists.official)

    def full_init(self) -> None:
        """Do nothing: the constructor reads names only, images are read on access."""

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Dict]:
        return (self[index] for index in range(len(self)))

    def episode(self, index: int) -> Episode:
        """Return the names of classes and images of an episode; reads no image."""
        return self.sampler[index]

    def get_data_info(self, index: int) -> Dict[str, Any]:
        """Return the results dict that the pipeline starts from."""
        episode = self.sampler[index]
        classes = self.index.classes
        return dict(
            episode_index=index,
            class_ids=list(episode.class_ids),
            class_names=[classes[class_id] for class_id in episode.class_ids],
            query=self.image_info(episode.query, episode.class_ids, 'query'),
            support=[[self.image_info(name, (class_id, ), 'support') for name in group]
                     for class_id, group in zip(episode.class_ids, episode.supports)])

    def image_info(self, name: str, class_ids: Tuple[int, ...], role: str) -> Dict[str, Any]:
        """Return the dict that the transforms of one image start from; ``role`` is ``'query'`` or ``'support'``."""
        return dict(
            name=name,
            img_path=self.index.image_path(name),
            mask_class_ids=class_ids,
            role=role,
            class_index=self.index,
            upright=self.index.turns_upright,
            seg_fields=[])

    def __getitem__(self, index: int) -> Dict:
        info = self.get_data_info(int(index))
        with seeded_random(self.sampler.seed, int(index)), bad_file_advice():
            return self.pipeline(info)


@contextmanager
def bad_file_advice() -> Iterator[None]:
    """Add to an error about a file how to find all such files."""
    try:
        yield
    except (OSError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(f'{error} ({CHECK_DATASET} lists the faults of all files. A training resumes exactly from its last '
                   'checkpoint with --resume.)') from error


@contextmanager
def seeded_random(*key: int) -> Iterator[None]:
    """Seed Python, NumPy and PyTorch (CPU) by a key, and restore their states at the end."""
    seed = np.random.SeedSequence(key).generate_state(3)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(int(seed[0]))
        np.random.seed(seed[1])
        torch.default_generator.manual_seed(int(seed[2]))
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])

"""FSS-1000 and a user's own folders as one-line datasets."""
import logging
import os
from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np
from mmengine.logging import print_log

from mmfss.registry import DATASETS
from mmfss.utils.names import few, normal_name
from .benchmarks import find_split_dir, list_source
from .class_indices import class_folders
from .class_lists import ClassLists
from .episodic_dataset import EpisodicDataset
from .folds import SPLITS, check_split
from .split_lists import is_official, read_fss_list, text_digest


def cut_categories(names: Sequence[str]) -> Dict[str, List[str]]:
    """Divide sorted categories at 52 % and 76 %: 520, 240 and 240 of a thousand."""
    cuts = [0, round(len(names) * 0.52), round(len(names) * 0.76), len(names)]
    return {split: list(names[cuts[place]:cuts[place + 1]]) for place, split in enumerate(SPLITS)}


@DATASETS.register_module()
class FSS1000Dataset(EpisodicDataset):
    """Draw episodes of FSS-1000: 520 categories for training, 240 for validation, 240 for test.

    .. code-block:: none

        data
        ├── FSS-1000                           data_root, see FSS1000Index
        │   └── <category>/{1..10}.{jpg,png}
        └── splits/fss                         split_dir; optional
            ├── trn.txt                        one category per line
            ├── val.txt
            └── test.txt

    The class id is the place in the sorted categories of the part, plus the number of categories in the parts before it
    (0, 520 and 760 with the published lists).

    Args:
        data_root (str): Folder of the categories.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        fold (int): 0; there is one division only.
        split_dir (str, optional): Folder of the lists. Where it does not exist, or with None, the sorted categories are
            cut at 52 % and 76 %.
        **kwargs: See :class:`EpisodicDataset`.

    Raises:
        FileNotFoundError: If a list names a category that has no folder.
    """

    PARTS = dict(train='trn', val='val', test='test')
    SPLITS_SHARE_CLASSES = False
    NUM_IMAGES = 10

    def __init__(self,
                 data_root: str,
                 pipeline: Sequence[Dict],
                 split: str = 'test',
                 fold: int = 0,
                 split_dir: Optional[str] = 'data/splits/fss',
                 dataset_name: str = 'FSS-1000',
                 **kwargs: Any) -> None:
        check_split(split)
        if fold != 0:
            raise ValueError(f'Unknown fold {fold!r}; known: [0] (FSS-1000 is divided once).')
        self.split_dir = find_split_dir(split_dir)
        groups = self._categories(data_root)
        names = [name for group in groups.values() for name in group]
        first = sum(len(groups[part]) for part in SPLITS[:SPLITS.index(split)])
        super().__init__(
            dict(type='FSS1000Index', data_root=data_root, classes=names),
            pipeline,
            split,
            fold,
            class_ids=range(first, first + len(groups[split])),
            dataset_name=dataset_name,
            **kwargs)

    def _categories(self, data_root: str) -> Dict[str, List[str]]:
        """List the sorted categories of each split."""
        if self.split_dir is not None:
            return {split: sorted(read_fss_list(self._list_file(split))) for split in SPLITS}
        root = os.path.expanduser(data_root)
        return cut_categories(class_folders(root) if os.path.isdir(root) else [])

    def _list_file(self, split: str) -> str:
        return os.path.join(self.split_dir, f'{self.PARTS[split]}.txt')

    def _load_lists(self, list_files: Optional[Union[str, Sequence[str]]], min_pixels: int) -> ClassLists:
        self._require_folders()
        lists = super()._load_lists(list_files, min_pixels)
        if list_files is not None:
            return lists
        if self.split_dir is None:
            lists.source = 'built from the sorted category folders (52 / 24 / 24 %)'
            return lists
        files = [self._list_file(split) for split in SPLITS]
        digests = zip(SPLITS, map(text_digest, files))
        lists.official = all(is_official('fss', self.PARTS[split], digest) for split, digest in digests)
        lists.source = list_source('FSS-1000', [files[SPLITS.index(self.split)]], lists.official)
        self._require_complete(lists)
        return lists

    def _require_complete(self, lists: ClassLists) -> None:
        """Mark lists as not official if an image is missing, since that changes the episodes."""
        wrong = [class_id for class_id in self.class_ids if len(lists.pool(class_id)) != self.NUM_IMAGES]
        if lists.official and wrong:
            lists.official = False
            lists.source += (f', but {len(wrong)} of its categories do not have {self.NUM_IMAGES} images, first '
                             f'"{self.index.classes[wrong[0]]}"')

    def _require_folders(self) -> None:
        present = set(class_folders(self.index.data_root))
        missing = [self.index.classes[class_id] for class_id in self.class_ids
                   if normal_name(self.index.classes[class_id]) not in present]
        if missing:
            paths = [os.path.join(self.index.data_root, name) for name in missing]
            raise FileNotFoundError(f'The list "{self._list_file(self.split)}" names {len(missing)} categories '
                                    f'that have no folder, first {few(paths)}.')


@DATASETS.register_module()
class ImageFolderDataset(EpisodicDataset):
    """Draw episodes of own files, ``<class>/images/*`` and ``<class>/masks/*``; see :class:`ImageFolderIndex`.

    Args:
        data_root (str): Folder of the class folders.
        split (str): ``'train'`` draws from the classes of the other folds, ``'val'`` and ``'test'`` from those of
            the fold.
        fold (int, optional): The fold; None draws from all classes.
        num_folds (int): Number of folds.
        scheme (str): ``'contiguous'`` or ``'modulo'``, see :func:`make_folds`.
        class_ids (Sequence[int | str], optional): Classes of this split, as names or ids; replaces fold and folds.
        img_dir, mask_dir (str): Folders inside a class folder.
        ignore_value (int, optional): Mask value of pixels to ignore.
        check_files (bool): Check at the start that every image has a mask, and read all masks once. Images that do not
            show their class are left out with a warning. Unreadable masks raise an error.
        upright (bool, optional): How images and masks with an EXIF orientation are read, see :class:`ImageFolderIndex`.
        holdout (float, optional): Share of the images of each class that training leaves to validation and test, at
            least two, evenly spaced in the sorted names. A class of fewer than four images shows all of them in every
            split, with a warning. None shows all images in every split.
        **kwargs: See :class:`EpisodicDataset`.

    Raises:
        ValueError: If ``holdout`` is not between 0 and 1.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from mmfss.datasets import ImageFolderDataset
        >>> pipeline = [
        ...     dict(type='ForEachImage', transforms=[
        ...         dict(type='LoadEpisodeImage'),
        ...         dict(type='LoadClassMask'),
        ...         dict(type='ResizeEpisodeImage', scale=(64, 64))]),
        ...     dict(type='PackEpisodeInputs')]
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ('mug', 'spoon'):
        ...         for part, suffix in (('images', 'jpg'), ('masks', 'png')):
        ...             (Path(root) / name / part).mkdir(parents=True)
        ...             for number in range(3):
        ...                 Image.new('RGB', (40, 30), 'white').save(Path(root) / name / part / f'{number}.{suffix}')
        ...     dataset = ImageFolderDataset(root, pipeline, class_ids=['mug', 'spoon'], num_shots=2, num_episodes=10)
        ...     item = dataset[0]
        >>> len(dataset), dataset.metainfo['classes']
        (10, ('mug', 'spoon'))
        >>> item['inputs']['query'].shape, item['inputs']['support'].shape
        (torch.Size([3, 64, 64]), torch.Size([1, 2, 3, 64, 64]))
    """

    def __init__(self,
                 data_root: str,
                 pipeline: Sequence[Dict],
                 split: str = 'test',
                 fold: Optional[int] = 0,
                 num_folds: int = 4,
                 scheme: str = 'contiguous',
                 img_dir: str = 'images',
                 mask_dir: str = 'masks',
                 ignore_value: Optional[int] = None,
                 check_files: bool = True,
                 upright: Optional[bool] = None,
                 dataset_name: Optional[str] = None,
                 holdout: Optional[float] = None,
                 **kwargs: Any) -> None:
        if holdout is not None and not 0 < holdout < 1:
            raise ValueError(f'{type(self).__name__}: holdout must lie between 0 and 1, got {holdout}.')
        self.holdout = holdout
        index = dict(
            type='ImageFolderIndex', data_root=data_root, img_dir=img_dir, mask_dir=mask_dir, ignore_value=ignore_value,
            check_files=check_files, upright=upright)
        super().__init__(
            index,
            pipeline,
            split,
            fold,
            folds=dict(num_folds=num_folds, scheme=scheme),
            check_files=check_files,
            dataset_name=dataset_name or os.path.basename(os.path.normpath(data_root)),
            **kwargs)

    def _load_lists(self, list_files: Optional[Union[str, Sequence[str]]], min_pixels: int) -> ClassLists:
        lists = super()._load_lists(list_files, min_pixels)
        if self.holdout is None:
            return lists
        small = [self.index.classes[class_id] for class_id in self.class_ids if 1 < len(lists.pool(class_id)) < 4]
        if small:
            print_log(f'{few(small)}: fewer than four images, so training, validation and test show the same.',
                      'current', logging.WARNING)
        kept = {class_id: _part(lists.pool(class_id), self.holdout, self.split != 'train')
                for class_id in self.class_ids}
        part = 'without' if self.split == 'train' else 'only'
        return ClassLists.from_dict(
            {class_id: lists.names[images].tolist() for class_id, images in kept.items()},
            f'{lists.source}, {part} the images held out')


def _part(images: np.ndarray, share: float, held_out: bool) -> np.ndarray:
    """Return the images of a class that are held out, or the others."""
    count = len(images)
    if count < 4:
        return images
    number = min(max(2, round(share * count)), count - 2)
    chosen = np.zeros(count, bool)
    chosen[(np.arange(number) * count + count // 2) // number] = True
    return images[chosen == held_out]

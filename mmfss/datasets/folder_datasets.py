"""FSS-1000 and a user's own folders as one-line datasets."""
import os
from typing import Any, Dict, List, Optional, Sequence, Union

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
        **kwargs: See :class:`EpisodicDataset`.

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
                 **kwargs: Any) -> None:
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

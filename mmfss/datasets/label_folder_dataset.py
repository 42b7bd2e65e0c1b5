"""A user's own pictures with a label for every pixel, for ordinary segmentation."""
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Dict, FrozenSet, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset

from mmfss.registry import DATASETS
from mmfss.utils.names import few
from .class_indices.base import CHECK_DATASET
from .class_indices.folders import IMAGE_SUFFIXES, files_by_stem
from .images import read_label_map, stored_size
from .orientation import file_orientation

BACKGROUND = 'background'


def label_names(classes: Sequence[str]) -> Tuple[str, ...]:
    """Name the label values: the classes, in front of a single one the background.

    Args:
        classes (Sequence[str]): Names in the order of the label values 0, 1, ...; a single class has the value 1.

    Returns:
        tuple[str]: The name of each value.

    Raises:
        ValueError: If there is no class, more than 255, an empty name or one that is given twice.

    Example:
        >>> from mmfss.datasets.label_folder_dataset import label_names
        >>> label_names(['cat']), label_names(['sky', 'road'])
        (('background', 'cat'), ('sky', 'road'))
    """
    if isinstance(classes, str):
        raise ValueError(f"classes must be a list of names, got {classes!r}. Write ['{classes}'] for a single class.")
    names = tuple(name.strip() for name in classes)
    twice = sorted({name for name in names if names.count(name) > 1})
    if not 1 <= len(names) <= 255 or '' in names or twice:
        raise ValueError(f'classes must be 1 to 255 different names, got {list(classes)}' +
                         (f' ({few(twice)} more than once).' if twice else '.'))
    return (BACKGROUND, *names) if len(names) == 1 else names


@DATASETS.register_module()
class LabelFolderDataset(BaseSegDataset):
    """Read own pictures, each with a picture of the same name that holds the class of every pixel.

    .. code-block:: none

        my_scenes                     data_root
        ├── images/{train,val}/*      any of jpg, jpeg, png, bmp, tif, tiff, webp
        └── labels/{train,val}/*.png  0 .. C-1 in the order of the classes, 255 without a label

    All label files are read when the dataset is built, by several threads (about 5 ms for a megapixel and core). A
    wrong list of classes stops a training before its first iteration.

    Args:
        data_root (str): Folder of the data.
        classes (Sequence[str]): Names in the order of the label values; a single one has the value 1, and 0 is the
            background.
        split (str): Folder below ``images`` and ``labels``.
        check_files (bool): Read the labels at the start.
        **kwargs: See MMSegmentation's ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If a folder, or the labels of a picture, do not exist.
        ValueError: If labels cannot be read, are of another size than their picture, hold a value without a class, or
            show only one class in all.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from PIL import Image
        >>> from mmfss.datasets import LabelFolderDataset
        >>> labels = np.zeros((30, 40), np.uint8)
        >>> labels[10:20] = 1
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for part, content, suffix in (('images', labels, 'jpg'), ('labels', labels, 'png')):
        ...         (Path(root) / part / 'train').mkdir(parents=True)
        ...         Image.fromarray(content).save(Path(root) / part / 'train' / f'1.{suffix}')
        ...     dataset = LabelFolderDataset(root, classes=['sky', 'road'])
        >>> len(dataset), dataset.metainfo['classes']
        (1, ('sky', 'road'))
    """

    def __init__(self,
                 data_root: str,
                 classes: Sequence[str],
                 split: str = 'train',
                 check_files: bool = True,
                 **kwargs: Any) -> None:
        self.split, self.check_files = split, check_files
        super().__init__(
            data_root=os.path.expanduser(data_root),
            metainfo=dict(classes=label_names(classes)),
            data_prefix=dict(img_path=f'images/{split}', seg_map_path=f'labels/{split}'),
            **kwargs)

    def load_data_list(self) -> List[Dict[str, Any]]:
        """Match pictures and labels by their names, and check the labels."""
        images, labels = self._files('img_path', IMAGE_SUFFIXES), self._files('seg_map_path', ('.png', ))
        missing = [path for stem, path in images.items() if stem not in labels]
        if missing:
            raise FileNotFoundError(f'{len(missing)} of {len(images)} pictures have no labels, first {few(missing)}: '
                                    f'expected a PNG file of the same name in "{self.data_prefix["seg_map_path"]}".')
        if not images:
            raise FileNotFoundError(f'There is no picture in "{self.data_prefix["img_path"]}".')
        pairs = [(path, labels[stem]) for stem, path in images.items()]
        if self.check_files:
            self._check(pairs)
        return [dict(img_path=image, seg_map_path=label, label_map=None, reduce_zero_label=False, seg_fields=[])
                for image, label in pairs]

    def _files(self, part: str, suffixes: Sequence[str]) -> Dict[str, str]:
        folder = self.data_prefix[part]
        if not os.path.isdir(folder):
            raise FileNotFoundError(f'The folder "{folder}" does not exist. Expected are images/{self.split} and '
                                    f'labels/{self.split} below "{self.data_root}" (data_root).')
        return {stem: os.path.join(folder, file) for stem, file in files_by_stem(folder, suffixes).items()}

    def _check(self, pairs: Sequence[Tuple[str, str]]) -> None:
        """Read all labels, and compare their values with the classes."""
        names = self.metainfo['classes']
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(self._values_or_fault, *zip(*pairs)))
        faults = [fault for fault in found if isinstance(fault, str)]
        if faults:
            raise ValueError('\n'.join([
                f'{len(faults)} of {len(pairs)} label files in "{self.data_prefix["seg_map_path"]}" cannot be used:',
                *faults[:10], *([f'and {len(faults) - 10} more'] if len(faults) > 10 else []),
                f'{CHECK_DATASET} CONFIG lists all faults.']))
        shown = frozenset().union(*found) - {self.ignore_index}
        absent = [name for value, name in enumerate(names) if value not in shown]
        if len(shown) < 2:
            only = f'only {few(names[value] for value in shown)}' if shown else 'no class'
            raise ValueError(f'The labels in "{self.data_prefix["seg_map_path"]}" show {only}; nothing can be learned. '
                             f'{self.ignore_index} means "without a label": in masks of 0 and 255, write 1 for the '
                             'object.')
        if absent:
            print_log(f'No label file in "{self.data_prefix["seg_map_path"]}" shows {few(absent)}. Are the classes in '
                      'the order of the label values?', 'current', logging.WARNING)

    def _values_or_fault(self, image: str, label: str) -> Union[FrozenSet[int], str]:
        """Return the values of a label file, or what is wrong with it."""
        names = self.metainfo['classes']
        try:
            values, size = _read_values(label, os.stat(label).st_mtime_ns)
        except (OSError, ValueError) as error:
            return str(error)
        wrong = sorted(value for value in values if value >= len(names) and value != self.ignore_index)
        if wrong:
            return (f'The label file "{label}" holds the value {wrong[0]}, but there are {len(names)} classes '
                    f'({few(names)}): allowed are 0 to {len(names) - 1}, and {self.ignore_index} without a label.')
        picture = _loaded_size(image)
        if picture not in (None, size):
            return f'The label file "{label}" has size {size} (H, W), its picture {picture}.'
        return values


@lru_cache(maxsize=1 << 17)
def _read_values(path: str, changed: int) -> Tuple[FrozenSet[int], Tuple[int, int]]:
    """Read values and size of a label file; ``changed``, its time, lets a changed file be read again.

    The phases of a training, its push and its validation read the same files.
    """
    labels = read_label_map(path)
    return frozenset(np.flatnonzero(np.bincount(labels.ravel(), minlength=1)).tolist()), labels.shape


def _loaded_size(path: str) -> Optional[Tuple[int, int]]:
    """Read the size (H, W) of a picture as it is loaded, turned by its EXIF orientation; None if it is not one."""
    size = stored_size(path)
    return size[::-1] if size is not None and (file_orientation(path) or 1) >= 5 else size

"""Base class of class indices."""
import os
from abc import ABCMeta, abstractmethod
from collections import defaultdict
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

import numpy as np

from mmfss.utils.names import few, real_path
from ..class_lists import ClassLists
from .pixel_counts import count_pixels

IGNORE = 255
CHECK_DATASET = 'tools/analysis_tools/check_dataset.py'

_MAX_CLASSES = {np.uint8: IGNORE - 1, np.uint16: 65534}


def label_format(num_classes: int) -> Tuple[type, int]:
    """Return the data type and the ignored number of maps that store class id + 1.

    The highest number is ignored: 255 (8 bits) for up to 254 classes, 65535 (16 bits) for more.

    Args:
        num_classes (int): Number of classes.

    Returns:
        tuple[type, int]: ``(np.uint8, 255)`` or ``(np.uint16, 65535)``.

    Raises:
        ValueError: If there are more classes than numbers of 16 bits.

    Example:
        >>> from mmfss.datasets.class_indices.base import label_format
        >>> label_format(80)
        (<class 'numpy.uint8'>, 255)
        >>> label_format(1000)
        (<class 'numpy.uint16'>, 65535)
    """
    for dtype, most in _MAX_CLASSES.items():
        if num_classes <= most:
            return dtype, most + 1
    raise ValueError(f'{num_classes} classes do not fit into maps of class numbers of 16 bits: at most '
                     f'{_MAX_CLASSES[np.uint16]} do.')


def labels_of(class_ids: Sequence[int]) -> Dict[int, int]:
    """Map N class ids to the labels 1..N.

    Raises:
        ValueError: If a map of 8 bits cannot hold them.
    """
    if len(class_ids) >= IGNORE:
        raise ValueError(f'{len(class_ids)} classes do not fit into one label map of 8 bits: at most {IGNORE - 1} do.')
    return {class_id: label for label, class_id in enumerate(class_ids, start=1)}


class ClassIndex(metaclass=ABCMeta):
    """List the images of each class, and load an image and the mask of a class.

    It knows nothing of episodes, folds or shots. An image has a *name*, the string the split lists use; the index turns
    it into a path. Class ids are 0-based and contiguous. Letters: (H, W) the original size of an image.

    Args:
        data_root (str): Folder of the dataset.
        classes (Sequence[str]): Names of all classes, in the order of their ids.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """

    resizes_masks = False
    """Whether masks may have another size than their images; loading then resizes them. Otherwise that is an error."""
    # Whether masks hold class numbers, so that :meth:`class_pixels` finds numbers that are no class.
    stores_numbers = False
    # Whether images and masks are turned by their EXIF orientation; None leaves it to the pipeline, which keeps images
    # as they are stored by default: the official readers of the benchmarks do.
    turns_upright: Optional[bool] = None
    # What counts of pixels depend on besides the masks, so that they can be kept; None: every start counts anew.
    counting_options: Optional[Tuple[Any, ...]] = None

    def __init__(self, data_root: str, classes: Sequence[str] = ()) -> None:
        self.data_root = os.path.expanduser(data_root)
        self.require_dir('')
        self.classes = tuple(classes)

    def require_dir(self, folder: str) -> str:
        """Return the path of a folder below the data root, which must exist."""
        path = self.locate(folder)
        if not os.path.isdir(path):
            raise FileNotFoundError(f'{type(self).__name__}: the data folder "{path}" does not exist. Put the data '
                                    'there or set data_root; the expected layout is in the documentation '
                                    'of this class.')
        return path

    def locate(self, *parts: str) -> str:
        """Return the path of a file or folder below the data root, as it is spelled on the disk.

        Lists may spell names in another Unicode form than the disk, see :func:`mmfss.utils.names.real_path`.
        """
        return real_path(os.path.join(self.data_root, *filter(None, parts)))

    @abstractmethod
    def image_path(self, name: str) -> str:
        """Return the path of an image."""

    @abstractmethod
    def mask_path(self, name: str, class_id: int) -> str:
        """Return the path of the file that holds the mask of a class in an image."""

    @abstractmethod
    def image_names(self) -> List[str]:
        """List the names of all annotated images, sorted."""

    @abstractmethod
    def load_label_map(self, name: str, class_ids: Sequence[int]) -> np.ndarray:
        """Load the masks of several classes as one map.

        Args:
            name (str): Name of the image.
            class_ids (Sequence[int]): N class ids, N <= 254.

        Returns:
            np.ndarray: (H, W) uint8; n = n-th of the given classes (1..N), 0 anything else, 255 ignored. Where
            ``resizes_masks``, of the size that is stored.
        """

    @abstractmethod
    def class_pixels(self, name: str) -> Dict[int, int]:
        """Count the pixels of each class present in an image."""

    def load_class_mask(self, name: str, class_id: int) -> np.ndarray:
        """Load the mask of one class: (H, W) uint8, 1 the class, 0 anything else, 255 ignored."""
        return self.load_label_map(name, (class_id, ))

    def build_lists(self, class_ids: Optional[Sequence[int]] = None, min_pixels: int = 1) -> ClassLists:
        """List the images of each class from the annotations, for use where no published list is at hand.

        Rule: an image is listed for a class if at least ``min_pixels`` pixels of the class are annotated in it; items
        are ordered by image name, then by class.

        Args:
            class_ids (Sequence[int], optional): Classes to list; all by default.
            min_pixels (int): Smallest object area.

        Returns:
            ClassLists: The lists.
        """
        wanted = range(len(self.classes)) if class_ids is None else sorted(class_ids)
        names = self.image_names()
        counts = count_pixels(self, names)
        shown = np.isin(counts['classes'], list(wanted)) & (counts['pixels'] >= min_pixels)
        images = np.repeat(np.arange(len(names)), np.diff(counts['first']))[shown]
        return ClassLists(counts['classes'][shown], np.asarray(names, str)[images],
                          source=f'built from annotations (classes of at least {min_pixels} pixels)')

    def count_each(self, names: Sequence[str]) -> Iterable[Dict[int, int]]:
        """Count the pixels of each class in images; see :meth:`class_pixels`."""
        return map(self.class_pixels, names)

    def check_files(self, lists: ClassLists, list_name: str) -> None:
        """Check that every listed image and mask exists. Each folder is listed once, no file is opened.

        Args:
            lists (ClassLists): Items to check.
            list_name (str): Where they were listed, for the message.

        Raises:
            FileNotFoundError: Naming the list, the number of missing files and the first of them.
        """
        missing = self.missing_files(lists)
        counts = ' and '.join(f'{len(paths)} {kind}(s)' for kind, paths in missing.items() if paths)
        if counts:
            raise FileNotFoundError(
                f'{list_name} names {counts} that do not exist, first {few(sum(missing.values(), []), 3)}. '
                f'Complete the data or use the lists that belong to it; {CHECK_DATASET} lists all of them.')

    def missing_files(self, lists: ClassLists) -> Dict[str, List[str]]:
        """List the images and masks that do not exist, sorted, under ``'image'`` and ``'mask'``."""
        masks = {self.mask_path(lists.name(image), class_id)
                 for class_id, image in zip(lists.class_ids.tolist(), lists.images.tolist())}
        return dict(image=_missing(map(self.image_path, lists.names.tolist())), mask=_missing(masks))


def _missing(paths: Iterable[str]) -> List[str]:
    """Select the paths that do not exist."""
    missing: List[str] = []
    by_folder: Dict[str, Set[str]] = defaultdict(set)
    for path in paths:
        folder, file = os.path.split(path)
        by_folder[folder].add(file)
    for folder, files in by_folder.items():
        present = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        missing += [os.path.join(folder, file) for file in files - present]
    return sorted(missing)

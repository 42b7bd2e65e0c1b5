"""The contract of a class index: what a benchmark has."""
import os
from abc import ABCMeta, abstractmethod
from collections import defaultdict
from typing import Dict, Iterable, List, Optional, Sequence, Set

import numpy as np

from ..class_lists import ClassLists

IGNORE = 255


class ClassIndex(metaclass=ABCMeta):
    """For each class the images that contain it, and a way to load an image and one class's mask.

    It knows nothing of episodes, folds or shots. An image has a *name*, the string the split lists use; the index turns
    it into a path. Class ids are 0-based and contiguous. Letters: (H, W) the original size of an image.

    Args:
        data_root (str): Folder of the data set.
        classes (Sequence[str]): Names of all classes, in the order of their ids.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """

    # Whether images and masks are turned by their EXIF orientation; None leaves it to the pipeline, which keeps images
    # as they are stored by default: the official readers of the benchmarks do.
    turns_upright: Optional[bool] = None

    def __init__(self, data_root: str, classes: Sequence[str] = ()) -> None:
        self.data_root = os.path.expanduser(data_root)
        self.require_dir('')
        self.classes = tuple(classes)

    def require_dir(self, folder: str) -> str:
        """Path of a folder below the data root, which must exist."""
        path = os.path.join(self.data_root, folder) if folder else self.data_root
        if not os.path.isdir(path):
            raise FileNotFoundError(f'{type(self).__name__}: the data folder "{path}" does not exist. Put the data '
                                    'there or set data_root; the expected layout is in the documentation '
                                    'of this class.')
        return path

    @abstractmethod
    def image_path(self, name: str) -> str:
        """Path of an image."""

    @abstractmethod
    def mask_path(self, name: str, class_id: int) -> str:
        """Path of the file that holds the mask of a class in an image."""

    @abstractmethod
    def image_names(self) -> List[str]:
        """Names of all annotated images, sorted."""

    @abstractmethod
    def load_label_map(self, name: str, class_ids: Sequence[int]) -> np.ndarray:
        """Load the masks of several classes as one map.

        Args:
            name (str): Name of the image.
            class_ids (Sequence[int]): N class ids, N <= 254.

        Returns:
            np.ndarray: (H, W) uint8; n = n-th of the given classes (1..N), 0 anything else, 255 ignored.
        """

    @abstractmethod
    def class_pixels(self, name: str) -> Dict[int, int]:
        """Number of pixels of each class present in an image."""

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
        wanted = set(range(len(self.classes)) if class_ids is None else class_ids)
        found, names = [], []
        for name in self.image_names():
            for class_id, pixels in sorted(self.class_pixels(name).items()):
                if class_id in wanted and pixels >= min_pixels:
                    found.append(class_id)
                    names.append(name)
        return ClassLists(found, names, source=f'built from annotations (classes of at least {min_pixels} pixels)')

    def check_files(self, lists: ClassLists, list_name: str) -> None:
        """Make sure that every listed image and mask exists, by listing each folder once.

        Args:
            lists (ClassLists): Items to check.
            list_name (str): Where they were listed, for the message.

        Raises:
            FileNotFoundError: Naming the list and the first missing file.
        """
        images = [self.image_path(name) for name in lists.names.tolist()]
        _require_files(images, list_name, 'image')
        masks = {self.mask_path(lists.name(image), class_id)
                 for class_id, image in zip(lists.class_ids.tolist(), lists.images.tolist())}
        _require_files(sorted(masks), list_name, 'mask')


def _require_files(paths: Iterable[str], list_name: str, kind: str) -> None:
    by_folder: Dict[str, Set[str]] = defaultdict(set)
    for path in paths:
        folder, file = os.path.split(path)
        by_folder[folder].add(file)
    for folder, files in by_folder.items():
        present = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        missing = files - present
        if missing:
            first = os.path.join(folder, min(missing))
            raise FileNotFoundError(f'{list_name} names {len(missing)} {kind}(s) that do not exist, first "{first}". '
                                    'Complete the data or use the lists that belong to it.')

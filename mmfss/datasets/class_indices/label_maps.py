"""Class indices over PNGs that store class numbers: VOC-style folders and the COCO masks of earlier work."""
import os
import posixpath
from typing import Dict, List, Optional, Sequence

import numpy as np
from mmseg.datasets import ADE20KDataset

from mmfss.registry import DATASETS
from mmfss.utils.names import list_names, real_path
from ..images import read_label_map
from ..split_lists import read_stem_list
from .base import IGNORE, ClassIndex, label_format, labels_of
from .class_names import COCO_CLASSES, VOC_CLASSES


class LabelMapIndex(ClassIndex):
    """Index images with one class-number mask each: 0 background, class id + 1, 255 ignored.

    More than 254 classes need masks of 16 bits, where 65535 is ignored.

    Args:
        data_root (str): Folder of the dataset.
        img_dir (str): Folder of the images, below the root.
        mask_dir (str): Folder of the masks, below the root.
        classes (Sequence[str]): Class names in the order of the mask values 1, 2, ...
    """

    stores_numbers = True

    def __init__(self, data_root: str, img_dir: str, mask_dir: str, classes: Sequence[str]) -> None:
        super().__init__(data_root, classes)
        self.img_dir = self.require_dir(img_dir)
        self.mask_dir = self.require_dir(mask_dir)
        self._dtype, self._ignore = label_format(len(self.classes))
        self.counting_options = (self.mask_dir, len(self.classes))

    def load_label_map(self, name: str, class_ids: Sequence[int]) -> np.ndarray:
        table = np.zeros(self._ignore + 1, np.uint8)
        table[self._ignore] = IGNORE
        for class_id, label in labels_of(class_ids).items():
            table[class_id + 1] = label
        return table[self._read(self.mask_path(name, class_ids[0]))]

    def _read(self, path: str) -> np.ndarray:
        """Read the numbers of a mask."""
        numbers = read_label_map(path, max_value=self._ignore)
        if self._dtype != np.uint8 and numbers.dtype == np.uint8 and (numbers == IGNORE).any():
            raise ValueError(f'The mask {path} has 8 bits and holds {IGNORE}, which may be the class '
                             f'"{self.classes[IGNORE - 1]}" or ignored pixels. Store the masks of {len(self.classes)} '
                             f'classes with 16 bits, where {self._ignore} is ignored.')
        return numbers

    def class_pixels(self, name: str) -> Dict[int, int]:
        """Count the pixels of each class present in an image.

        Raises:
            ValueError: If the mask holds a number that is no class.
        """
        path = self.mask_path(name, 0)
        counts = np.bincount(self._read(path).ravel(), minlength=self._ignore + 1)
        unknown = np.flatnonzero(counts[len(self.classes) + 1:self._ignore])
        if unknown.size:
            raise ValueError(f'The mask {path} holds the value {unknown[0] + len(self.classes) + 1}; allowed are 0, '
                             f'1..{len(self.classes)} (the classes) and {self._ignore} (ignored).')
        return {int(value) - 1: int(counts[value]) for value in np.flatnonzero(counts[:self._ignore]) if value}

    def _mask_stems(self) -> List[str]:
        """List the stems of all masks, sorted."""
        return [file[:-len('.png')] for file in list_names(self.mask_dir) if file.endswith('.png')]


@DATASETS.register_module()
class PascalVOCIndex(LabelMapIndex):
    """Index PASCAL VOC 2012 with the SBD annotations, or any folder laid out like it.

    .. code-block:: none

        VOC2012                        data_root
        ├── JPEGImages/<stem>.jpg
        ├── SegmentationClassAug/<stem>.png     0 background, 1..20 classes, 255 ignored
        └── ImageSets/Segmentation/<set>.txt    stems, one per line; read only to build lists

    The name of an image is its stem.

    Args:
        data_root (str): Folder of the dataset.
        img_dir (str): Folder of the images.
        mask_dir (str): Folder of the masks.
        image_set (str, optional): File of stems that lists are built from; all masks if None.
        classes (Sequence[str]): Class names; those of VOC by default.
        img_suffix (str): Suffix of the images.
    """

    def __init__(self,
                 data_root: str,
                 img_dir: str = 'JPEGImages',
                 mask_dir: str = 'SegmentationClassAug',
                 image_set: Optional[str] = None,
                 classes: Sequence[str] = VOC_CLASSES,
                 img_suffix: str = '.jpg') -> None:
        super().__init__(data_root, img_dir, mask_dir, classes)
        self.image_set = image_set
        self.img_suffix = img_suffix

    def image_path(self, name: str) -> str:
        return real_path(os.path.join(self.img_dir, name + self.img_suffix))

    def mask_path(self, name: str, class_id: int) -> str:
        return real_path(os.path.join(self.mask_dir, name + '.png'))

    def image_names(self) -> List[str]:
        """List the names of all annotated images, sorted.

        Raises:
            FileNotFoundError: If the image set file does not exist.
            ValueError: Naming its line, if one is not the stem of an image.
        """
        if self.image_set is None:
            return self._mask_stems()
        path = os.path.join(self.data_root, self.image_set)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'The image set "{path}" does not exist; it names the images that split lists are '
                                    'built from. Provide it, or the published split lists (split_dir).')
        return sorted(read_stem_list(path, set(self._mask_stems())))


@DATASETS.register_module()
class ADE20KIndex(PascalVOCIndex):
    """Index ADE20K (scene parsing, 150 classes, things and stuff).

    .. code-block:: none

        ADEChallengeData2016                data_root
        ├── images/{training,validation}/<stem>.jpg
        └── annotations/{training,validation}/<stem>.png     0 anything else, 1..150 classes

    Args:
        data_root (str): Folder of the dataset.
        part (str): ``'training'`` or ``'validation'``.
    """

    def __init__(self, data_root: str, part: str = 'training') -> None:
        super().__init__(data_root, f'images/{part}', f'annotations/{part}', classes=ADE20KDataset.METAINFO['classes'])


@DATASETS.register_module()
class CocoMaskIndex(LabelMapIndex):
    """Index COCO with class-number PNGs, as earlier few-shot code distributes them.

    .. code-block:: none

        coco2014                                   data_root
        ├── val2014/COCO_val2014_<12 digits>.jpg                  img_dir
        └── annotations/val2014/COCO_val2014_<12 digits>.png      mask_dir; 0 background, 1..80 classes

    The name of an image is ``<img_dir>/<file>``; where images lie in folders below ``img_dir``, masks lie in the same
    folders below ``mask_dir``. Where objects overlap only one class has the pixel. ``coco_masks.py`` among the dataset
    converters makes the masks.

    Args:
        data_root (str): Folder of the dataset.
        img_dir (str): Folder of the images, also the first part of the names.
        mask_dir (str, optional): Folder of the masks; ``annotations/<img_dir>`` by default.
        classes (Sequence[str]): Class names; the 80 of COCO by default.
        img_suffix (str): Suffix of the images.
    """

    def __init__(self,
                 data_root: str,
                 img_dir: str = 'val2014',
                 mask_dir: Optional[str] = None,
                 classes: Sequence[str] = COCO_CLASSES,
                 img_suffix: str = '.jpg') -> None:
        super().__init__(data_root, img_dir, mask_dir or f'annotations/{img_dir}', classes)
        self.prefix = img_dir.strip('/')
        self.img_suffix = img_suffix

    def image_path(self, name: str) -> str:
        return self.locate(name)

    def mask_path(self, name: str, class_id: int) -> str:
        return real_path(os.path.join(self.mask_dir, coco_mask_file(name, self.prefix)))

    def image_names(self) -> List[str]:
        return [f'{self.prefix}/{stem}{self.img_suffix}' if self.prefix else f'{stem}{self.img_suffix}'
                for stem in self._mask_stems()]

    def _mask_stems(self) -> List[str]:
        """List the stems of all masks, also in subfolders; hidden folders are skipped."""
        stems = []
        for folder, folders, files in os.walk(self.mask_dir):
            folders[:] = [name for name in folders if not name.startswith('.')]
            below = os.path.relpath(folder, self.mask_dir).replace(os.sep, '/')
            stems += [posixpath.normpath(f'{below}/{os.path.splitext(file)[0]}') for file in files
                      if file.endswith('.png') and not file.startswith('.')]
        return sorted(stems)


def coco_mask_file(name: str, img_dir: str) -> str:
    """Return the path of an image's mask below the folder of the masks.

    Args:
        name (str): Name of the image.
        img_dir (str): Folder of the images, the first part of the names.

    Returns:
        str: The path of the image below ``img_dir``, with the suffix ``.png``; the file alone if it is not below.

    Example:
        >>> coco_mask_file('val2014/a/1.jpg', 'val2014')
        'a/1.png'
    """
    below = name[len(img_dir) + 1:] if name.startswith(f'{img_dir}/') else name
    is_below = not img_dir or below != name
    return os.path.splitext(below if is_below else os.path.basename(name))[0] + '.png'

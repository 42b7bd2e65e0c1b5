"""Class indices of the cross-domain targets: one grey mask per image and class, in the released folder layouts."""
import os
from abc import abstractmethod
from collections import defaultdict
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from mmfss.registry import DATASETS
from mmfss.utils.names import list_names
from ..class_lists import ClassLists
from ..images import read_grey
from .base import ClassIndex


class GreyMaskIndex(ClassIndex):
    """Index images with one mask file per class that they show; grey level >= 128 is the object.

    Folders are listed once, at the start. The lists of a class keep the order of the released loaders, which sort the
    files they list by code point; the published episodes depend on it.

    Args:
        data_root (str): Folder of the dataset.

    Raises:
        FileNotFoundError: If the root or a folder of the layout does not exist.
    """

    CLASSES: Tuple[str, ...] = ()
    THRESHOLD = 128

    def __init__(self, data_root: str) -> None:
        super().__init__(data_root, self.CLASSES)
        self._images = [self._list_images(class_id) for class_id in range(len(self.classes))]
        self._shown: Dict[str, List[int]] = defaultdict(list)
        for class_id, names in enumerate(self._images):
            for name in names:
                self._shown[name].append(class_id)
        self._shown.default_factory = None

    @abstractmethod
    def _list_images(self, class_id: int) -> List[str]:
        """List the names of the images of a class in the order of the released loaders."""

    def _files(self, folder: str, suffix: str, infix: str = '') -> List[str]:
        """List the files of a folder below the root, sorted by code point."""
        files = list_names(self.require_dir(folder))
        return [file for file in files if file.endswith(suffix) and infix in file]

    def images_of(self, class_id: int) -> List[str]:
        """List the names of the images that show a class, in list order."""
        return list(self._images[class_id])

    def image_names(self) -> List[str]:
        return sorted(self._shown)

    def classes_of(self, name: str) -> List[int]:
        """List the ids of the classes that an image shows, ascending.

        Raises:
            FileNotFoundError: If there is no such image.
        """
        if name not in self._shown:
            raise FileNotFoundError(f'{type(self).__name__}: there is no image "{name}" below "{self.data_root}".')
        return self._shown[name]

    def _load_mask(self, name: str, class_id: int) -> np.ndarray:
        return read_grey(self.mask_path(name, class_id)) >= self.THRESHOLD

    def load_label_map(self, name: str, class_ids: Sequence[int]) -> np.ndarray:
        """Load the masks of several classes as one map, without ignored pixels."""
        shown = self.classes_of(name)
        masks = {class_id: self._load_mask(name, class_id) for class_id in class_ids if class_id in shown}
        # A class that the image does not show has no file: then another class tells the size.
        size = next(iter(masks.values())) if masks else self._load_mask(name, shown[0])
        label_map = np.zeros(size.shape, np.uint8)
        for label, class_id in enumerate(class_ids, start=1):
            if class_id in masks:
                label_map[masks[class_id]] = label
        return label_map

    def class_pixels(self, name: str) -> Dict[int, int]:
        return {class_id: int(self._load_mask(name, class_id).sum()) for class_id in self.classes_of(name)}

    def build_lists(self, class_ids: Optional[Sequence[int]] = None, min_pixels: int = 1) -> ClassLists:
        """List all images of each class in the order of the released loaders.

        Masks are read only if ``min_pixels`` is above 1; then images are ordered by name instead.
        """
        if min_pixels > 1:
            return super().build_lists(class_ids, min_pixels)
        wanted = range(len(self.classes)) if class_ids is None else class_ids
        return ClassLists.from_dict({class_id: self._images[class_id] for class_id in wanted},
                                    f'all images below "{self.data_root}"')


@DATASETS.register_module()
class DeepGlobeIndex(GreyMaskIndex):
    """Index DeepGlobe land cover, cut into 6 x 6 tiles; ``tools/dataset_converters/deepglobe.py`` makes it.

    .. code-block:: none

        Deepglobe                                   data_root
        ├── image/<id>_sat_<ij>.jpg                 tile of row i, column j
        └── filter_mask/<1..6>/<id>_mask_<ij>.png   folder of class id + 1; grey level >= 128 is the class

    The name of an image is the file of its tile. A tile shows several classes, so episodes of several classes have all
    of them in the query's mask.

    Args:
        data_root (str): Folder of the dataset.

    Raises:
        FileNotFoundError: If the root or the mask folder of a class does not exist.
    """

    CLASSES = ('agriculture', 'urban', 'rangeland', 'forest', 'water', 'barren')

    def _list_images(self, class_id: int) -> List[str]:
        masks = self._files(f'filter_mask/{class_id + 1}', '.png', '_mask_')
        return [mask[:-len('.png')].replace('_mask_', '_sat_') + '.jpg' for mask in masks]

    def image_path(self, name: str) -> str:
        return self.locate('image', name)

    def mask_path(self, name: str, class_id: int) -> str:
        mask = name[:-len('.jpg')].replace('_sat_', '_mask_') + '.png'
        return self.locate('filter_mask', str(class_id + 1), mask)


@DATASETS.register_module()
class ISICIndex(GreyMaskIndex):
    """Index skin lesions of ISIC 2018, task 1, by diagnosis; ``tools/dataset_converters/isic.py`` makes it.

    .. code-block:: none

        ISIC                                                                data_root
        ├── ISIC2018_Task1-2_Training_Input/<1..3>/ISIC_<7 digits>.jpg      folder of class id + 1
        └── ISIC2018_Task1_Training_GroundTruth/ISIC_<7 digits>_segmentation.png

    The name of an image is ``<1..3>/<file>``.

    Args:
        data_root (str): Folder of the dataset.

    Raises:
        FileNotFoundError: If the root or a folder of the layout does not exist.
    """

    CLASSES = ('nevus', 'melanoma', 'seborrheic_keratosis')
    IMAGES = 'ISIC2018_Task1-2_Training_Input'
    MASKS = 'ISIC2018_Task1_Training_GroundTruth'

    def __init__(self, data_root: str) -> None:
        super().__init__(data_root)
        self.require_dir(self.MASKS)

    def _list_images(self, class_id: int) -> List[str]:
        folder = str(class_id + 1)
        return [f'{folder}/{file}' for file in self._files(f'{self.IMAGES}/{folder}', '.jpg')]

    def image_path(self, name: str) -> str:
        return self.locate(self.IMAGES, name)

    def mask_path(self, name: str, class_id: int) -> str:
        stem = os.path.splitext(name.rsplit('/', 1)[-1])[0]
        return self.locate(self.MASKS, f'{stem}_segmentation.png')


@DATASETS.register_module()
class LungIndex(GreyMaskIndex):
    """Index chest X-rays of Montgomery (MCU) and Shenzhen (CHN); ``tools/dataset_converters/lung.py`` makes them.

    .. code-block:: none

        LungSegmentation                                        data_root
        ├── CXR_png/{MCUCXR_<4 digits>_<0|1>,CHNCXR_...}.png    some without a mask: not used
        └── masks/{MCUCXR_<4 digits>_<0|1>,CHNCXR_..._mask}.png

    The name of an image is its file.

    Args:
        data_root (str): Folder of the dataset.

    Raises:
        FileNotFoundError: If the root or a folder of the layout does not exist.
    """

    CLASSES = ('lung', )
    SAME_NAME = 'MCUCXR'  # masks of these images are named like them, all others end in _mask

    def __init__(self, data_root: str) -> None:
        super().__init__(data_root)
        self.require_dir('CXR_png')

    def _list_images(self, class_id: int) -> List[str]:
        return [mask if self.SAME_NAME in mask else mask[:-len('.png')].removesuffix('_mask') + '.png'
                for mask in self._files('masks', '.png')]

    def image_path(self, name: str) -> str:
        return self.locate('CXR_png', name)

    def mask_path(self, name: str, class_id: int) -> str:
        mask = name if self.SAME_NAME in name else f'{name[:-len(".png")]}_mask.png'
        return self.locate('masks', mask)

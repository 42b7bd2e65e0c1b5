"""Class indices over one folder per class: FSS-1000 and a user's own images."""
import logging
import os
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Container, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.logging import print_log

from mmfss.registry import DATASETS
from mmfss.utils.names import few, list_names, normal_name
from ..class_lists import ClassLists
from ..images import read_grey, stored_size
from ..masks import read_object_mask
from .base import CHECK_DATASET, ClassIndex
from .pixel_counts import count_pixels

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
MASK_SUFFIXES = ('.png', '.bmp', '.tif', '.tiff')
OTHER_MASK_SUFFIXES = ('.gif', '.webp', '.jpg', '.jpeg', '.jp2', '.avif')  # for stems without one of those


class ClassFolderIndex(ClassIndex):
    """Index one folder per class; an image belongs to the class of its folder only.

    The name of an image is its path below the root, with ``/``. Whether an image also shows other classes is not
    annotated, so the map of several classes has only its own.

    Args:
        data_root (str): Folder of the dataset.
        classes (Sequence[str], optional): Class folders in the order of the class ids; all, sorted, by default.

    Raises:
        ValueError: If there is no class folder.
    """

    def __init__(self, data_root: str, classes: Optional[Sequence[str]] = None) -> None:
        super().__init__(data_root)
        self.classes = tuple(class_folders(self.data_root) if classes is None else classes)
        if not self.classes:
            raise ValueError(f'"{self.data_root}" holds no class folder; the expected layout is in the documentation '
                             f'of {type(self).__name__}.')
        self._numbers = {normal_name(name): number for number, name in enumerate(self.classes)}

    def class_of(self, name: str) -> int:
        """Return the class id of the folder that contains an image."""
        return self._numbers[name.split('/', 1)[0]]

    def load_label_map(self, name: str, class_ids: Sequence[int]) -> np.ndarray:
        own = self.class_of(name)
        mask = self._load_own_mask(name)
        label = list(class_ids).index(own) + 1 if own in class_ids else 0
        mask[mask == 1] = label
        return mask

    @abstractmethod
    def _load_own_mask(self, name: str) -> np.ndarray:
        """Load the stored mask (H, W) uint8 of an image: 0, 1, 255 ignored."""

    def class_pixels(self, name: str) -> Dict[int, int]:
        own = self.class_of(name)
        return {own: int((self._load_own_mask(name) == 1).sum())}

    def build_lists(self, class_ids: Optional[Sequence[int]] = None, min_pixels: int = 1) -> ClassLists:
        """List every image for the class of its folder; masks are read only if ``min_pixels`` is above 1.

        Items are ordered by class, then by name.
        """
        if min_pixels > 1:
            return super().build_lists(class_ids, min_pixels)
        wanted = range(len(self.classes)) if class_ids is None else sorted(class_ids)
        pairs = [(class_id, name) for class_id in wanted for name in self.images_of(class_id)]
        return ClassLists.from_pairs(pairs, source='built from the class folders')

    @abstractmethod
    def images_of(self, class_id: int) -> List[str]:
        """List the names of the images in the folder of a class, sorted."""

    def image_names(self) -> List[str]:
        return [name for class_id in range(len(self.classes)) for name in self.images_of(class_id)]

    def image_path(self, name: str) -> str:
        return self.locate(name)


def class_folders(data_root: str) -> List[str]:
    """List the class folders below a root, sorted by code point; see :func:`mmfss.utils.names.list_names`."""
    return list(list_names(data_root, folders=True))


@DATASETS.register_module()
class FSS1000Index(ClassFolderIndex):
    """Index FSS-1000.

    .. code-block:: none

        FSS-1000                     data_root
        └── <category>
            ├── 1.jpg ... 10.jpg
            └── 1.png ... 10.png     grey level >= 128 is the object

    The name of an image is ``<category>/<i>.jpg``. A few masks of the released archive have another size than their
    image, and one is a colour photograph. As in the released loader, grey level decides and the mask is resized
    (nearest neighbour) to the size that the network sees; the log says once how many there are.

    Args:
        data_root (str): Folder of the dataset.
        classes (Sequence[str], optional): Categories in the order of the class ids; the sorted folders by default.

    Raises:
        FileNotFoundError: If the root or the folder of a class does not exist.
    """

    THRESHOLD = 128
    resizes_masks = True

    def mask_path(self, name: str, class_id: int) -> str:
        return self.locate(os.path.splitext(name)[0] + '.png')

    def images_of(self, class_id: int) -> List[str]:
        """List the names of the images of a class, sorted as strings: 1, 10, 2, 3, ..."""
        folder = self.require_dir(self.classes[class_id])
        return [f'{normal_name(self.classes[class_id])}/{file}' for file in list_names(folder) if file.endswith('.jpg')]

    def _load_own_mask(self, name: str) -> np.ndarray:
        return (read_grey(self.mask_path(name, self.class_of(name))) >= self.THRESHOLD).astype(np.uint8)

    def check_files(self, lists: ClassLists, list_name: str) -> None:
        """Check that all listed files exist, and count the masks of another size than their image."""
        super().check_files(lists, list_name)
        names = lists.names.tolist()
        masks = [self.mask_path(name, self.class_of(name)) for name in names]
        with ThreadPoolExecutor(8) as pool:  # the time goes into waiting for files
            image_sizes = pool.map(stored_size, map(self.image_path, names))
            mask_sizes = pool.map(stored_size, masks)
            odd = [mask for mask, *sizes in zip(masks, image_sizes, mask_sizes)
                   if None not in sizes and sizes[0] != sizes[1]]
        if odd:
            print_log(f'{list_name}: {len(odd)} of {len(masks)} masks have another size than their image, first '
                      f'"{odd[0]}". They are resized as the released loader of FSS-1000 does.',
                      logger='current', level=logging.WARNING)


@DATASETS.register_module()
class ImageFolderIndex(ClassFolderIndex):
    """Index a user's own images: one folder per class, images and masks matched by file stem.

    .. code-block:: none

        my_data                      data_root
        ├── cat
        │   ├── images/a.jpg  b.png ...      any of jpg, jpeg, png, bmp, tif, tiff, webp
        │   └── masks/a.png   b.png ...      black or transparent is background, else object; best PNG
        └── dog
            ├── images/...
            └── masks/...

    The name of an image is ``<class>/images/<file>``. Masks of all formats are read by :func:`read_object_mask`.

    Args:
        data_root (str): Folder of the dataset.
        classes (Sequence[str], optional): Class folders in the order of the class ids; all, sorted, by default.
        img_dir (str): Folder of the images inside a class folder.
        mask_dir (str): Folder of the masks inside a class folder.
        ignore_value (int, optional): Mask value of pixels to ignore; none by default.
        check_files (bool): False leaves out images without a mask, and lists images without reading their masks.
        upright (bool, optional): Images and masks are turned by their own EXIF orientation, unless this is False. True
            also says that masks without an orientation were drawn on the upright image; without it, that is an error
            where the sizes do not tell. False: nothing is turned, masks were drawn on the image as it is stored.

    Raises:
        FileNotFoundError: If the root, a class folder, or the masks of images do not exist; all of them are named.
        ValueError: If there is no class folder.
    """

    def __init__(self,
                 data_root: str,
                 classes: Optional[Sequence[str]] = None,
                 img_dir: str = 'images',
                 mask_dir: str = 'masks',
                 ignore_value: Optional[int] = None,
                 check_files: bool = True,
                 upright: Optional[bool] = None) -> None:
        super().__init__(data_root, classes)
        self.check_masks, self.unmatched = check_files, []
        self.upright, self.turns_upright = upright, upright is not False
        self.img_dir, self.mask_dir, self.ignore_value = img_dir, mask_dir, ignore_value
        self.counting_options = (img_dir, mask_dir, ignore_value, upright)
        pairs = [self._pairs(class_id) for class_id in range(len(self.classes))]
        # Arrays, which processes share better than strings: images in the order of the classes, and their mask files
        self._first = np.cumsum([0, *map(len, pairs)])
        self._images = np.array([name for group in pairs for name, _ in group], str)
        self._masks = np.array([mask for group in pairs for _, mask in group], str)
        self._order = np.argsort(self._images)
        if self.unmatched and check_files:
            raise FileNotFoundError(self._summary('files or folders are missing', [text for _, text in self.unmatched]))

    def _pairs(self, class_id: int) -> List[Tuple[str, str]]:
        """List the pairs (image name, mask file) of a class, sorted by name."""
        class_name = normal_name(self.classes[class_id])
        folders = [self.locate(class_name, folder) for folder in (self.img_dir, self.mask_dir)]
        absent = [folder for folder in folders if not os.path.isdir(folder)]
        self.unmatched += [(folder, f'Class "{class_name}": the folder "{folder}" does not exist.')
                           for folder in absent]
        if absent:
            return []
        # Match images and masks by their stems
        image_folder, mask_folder = folders
        images, masks = files_by_stem(image_folder, IMAGE_SUFFIXES), files_by_stem(mask_folder, MASK_SUFFIXES)
        if set(images) - set(masks):
            masks = {**files_by_stem(mask_folder, OTHER_MASK_SUFFIXES, without=masks), **masks}
        missing = sorted(set(images) - set(masks))
        self.unmatched += [(os.path.join(image_folder, images[stem]),
                            f'The image "{class_name}/{self.img_dir}/{images[stem]}" has no mask: expected '
                            f'"{os.path.join(mask_folder, stem)}.png".') for stem in missing]
        return [(f'{class_name}/{self.img_dir}/{normal_name(images[stem])}', masks[stem])
                for stem in sorted(images) if stem in masks]

    def build_lists(self, class_ids: Optional[Sequence[int]] = None, min_pixels: int = 1) -> ClassLists:
        """List the images that show the class of their folder; the others are left out with a warning.

        Every mask is read once, by several threads: about 5 ms for a megapixel and core. The counts of many images are
        kept, see :func:`count_pixels`. ``min_pixels=0`` lists all images without reading masks; then an empty mask is
        an error when it is met.

        Raises:
            ValueError: If masks cannot be read; the first are named.
        """
        lists = ClassFolderIndex.build_lists(self, class_ids, min_pixels=1)
        if min_pixels < 1 or not self.check_masks:
            return lists
        names = lists.names.tolist()
        pixels = count_pixels(self, names)['pixels']  # one class in each image
        # Leave out images that do not show their class
        small = [name for name, number in zip(names, pixels.tolist()) if number < min_pixels]
        if small:
            print_log(
                f'{len(small)} of {len(names)} images below "{self.data_root}" are left out: '
                f'{"nothing" if min_pixels == 1 else f"less than {min_pixels} pixels"} of their class is in the mask: '
                f'{few(small)}.', logger='current', level=logging.WARNING)
        shown = (pixels >= min_pixels)[lists.images]
        return ClassLists(lists.class_ids[shown], lists.names[lists.images[shown]], lists.source)

    def count_each(self, names: Sequence[str]) -> List[Dict[int, int]]:
        """Count the pixels of the class in images, by several threads.

        Raises:
            ValueError: If masks cannot be read; the first are named.
        """
        with ThreadPoolExecutor() as pool:
            counts = list(pool.map(self._pixels_or_fault, names))
        faults = [found for found in counts if isinstance(found, str)]
        if faults:
            raise ValueError(self._summary('masks cannot be used', faults))
        return counts

    def _summary(self, what: str, faults: Sequence[str], limit: int = 10) -> str:
        """Format the first faults, one per line, and how to list all."""
        more = [f'and {len(faults) - limit} more'] if len(faults) > limit else []
        return '\n'.join([f'{len(faults)} {what} in "{self.data_root}":', *faults[:limit], *more,
                          f'{CHECK_DATASET} "{self.data_root}" lists all faults of masks and images.'])

    def _pixels_or_fault(self, name: str) -> Union[Dict[int, int], str]:
        """Count the pixels of the class in an image, or say why its mask cannot be read."""
        try:
            return self.class_pixels(name)
        except (OSError, ValueError) as error:
            return str(error)

    def mask_path(self, name: str, class_id: int) -> str:
        place = -1
        if 4 * len(name) <= self._images.itemsize:  # a longer one would make NumPy copy the names
            place = int(np.searchsorted(self._images, name, sorter=self._order))
        if not 0 <= place < len(self._images) or self._images[self._order[place]] != name:
            raise FileNotFoundError(f'There is no image "{name}" below "{self.data_root}".')
        return self.locate(name.split('/', 1)[0], self.mask_dir, str(self._masks[self._order[place]]))

    def images_of(self, class_id: int) -> List[str]:
        return self._images[self._first[class_id]:self._first[class_id + 1]].tolist()

    def _load_own_mask(self, name: str) -> np.ndarray:
        return read_object_mask(self.mask_path(name, self.class_of(name)), self.ignore_value, self.upright,
                                self.image_path(name))


def files_by_stem(folder: str, suffixes: Sequence[str], without: Container[str] = ()) -> Dict[str, str]:
    """Map each stem, in composed Unicode form, to its file; two images of one stem would share a mask.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If two files have one stem.
    """
    found: Dict[str, str] = {}
    for name, file in list_names(folder, suffixes).items():
        stem = os.path.splitext(name)[0]
        if stem in without:
            continue
        if stem in found:
            raise ValueError(f'"{folder}" holds both {found[stem]} and {file}; images and masks are matched by stem.')
        found[stem] = file
    return found

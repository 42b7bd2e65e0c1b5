"""Class index over a COCO instances file."""
import logging
import os
from itertools import groupby
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log
from pycocotools import mask as coco_mask

from mmfss.registry import DATASETS
from mmfss.utils.defaults import CROWD
from mmfss.utils.names import normal_name
from ..class_lists import ClassLists
from .base import IGNORE, ClassIndex, label_format, labels_of
from .coco_arrays import coco_arrays
from .coco_file import common_folder


@DATASETS.register_module()
class CocoInstanceIndex(ClassIndex):
    """Index COCO, LVIS, or any dataset annotated in the instances format of COCO.

    .. code-block:: none

        coco2014                                   data_root
        ├── annotations/instances_val2014.json     ann_file
        └── val2014/COCO_val2014_<12 digits>.jpg   img_dir

    Classes are the categories sorted by category id. The name of an image is ``<img_dir>/<file_name>``. LVIS tells
    folder and file in ``coco_url`` instead: that folder then takes the place of the last one of ``img_dir``, so that
    images may lie in both ``train2017`` and ``val2017``. A class's mask is the union of its objects; in a map of
    several classes the smaller object is on top.

    The file is checked once, when it is read, against what its pictures can hold; see
    :func:`~mmfss.datasets.class_indices.coco_file.validate_coco`. Polygons are then turned into run-length codes, and
    only those are kept, as arrays. Polygons of fewer than three points are left out; the log says how many.

    The arrays of a file of 8 MiB or more are kept beside it in ``.<file>.objects.mmfss``, and memory-mapped by all
    processes and workers: COCO starts in a second instead of 40, and its masks are in memory once. They are made anew
    when the file changes. Where the folder cannot be written to, ``MMFSS_CACHE_DIR`` names another one.

    Args:
        data_root (str): Folder of the dataset.
        ann_file (str): The instances file, below the root.
        img_dir (str): Folder of the images, also the first part of the names.
        crowd (str): What a crowd region is: ``'foreground'`` (default: an object like any other, so that no listed
            image loses its class), ``'ignore'`` (255) or ``'background'``.

    Raises:
        FileNotFoundError: If folder or file do not exist.
        ValueError: If the file is not an instances file, entries of it are unusable, or ``crowd`` is unknown.
    """

    CROWD = CROWD

    def __init__(self,
                 data_root: str,
                 ann_file: str = 'annotations/instances_val2014.json',
                 img_dir: str = 'val2014',
                 crowd: str = 'foreground') -> None:
        if crowd not in self.CROWD:
            raise ValueError(f'crowd must be one of {self.CROWD}, got {crowd!r}.')
        super().__init__(data_root)
        self.require_dir(img_dir)
        self.crowd = crowd
        self.ann_file = os.path.join(self.data_root, ann_file)
        self.counting_options = (ann_file, crowd)
        self._arrays, meta = coco_arrays(self.ann_file)
        self.prefix = common_folder(img_dir, meta['by_url'])
        self.classes = tuple(meta['classes'])
        self._log_left_out(meta['left_out'], meta['num_annotations'])

    def _log_left_out(self, left_out: Mapping[str, Sequence[Any]], total: int) -> None:
        told = [f'{count} {what}, first {first}' for what, (count, first) in left_out.items()]
        if told:
            print_log(f'{self.ann_file}: of {total} annotations {"; ".join(told)}. These polygons and objects are left '
                      'out.', logger='current', level=logging.WARNING)

    def image_path(self, name: str) -> str:
        return self.locate(name)

    def mask_path(self, name: str, class_id: int) -> str:
        """The annotation file: it holds all masks."""
        return self.ann_file

    def image_names(self) -> List[str]:
        start = f'{normal_name(self.prefix)}/' if self.prefix else ''
        return [start + name.decode('utf-8', 'surrogatepass') for name in self._arrays['names'].tolist()]

    def _rows(self, names: Sequence[str]) -> np.ndarray:
        """Return the place of each image among those of the file; -1 for an image that is not in it."""
        known = self._arrays['names']
        start = f'{normal_name(self.prefix)}/' if self.prefix else ''
        keys = [name[len(start):].encode('utf-8', 'surrogatepass') if name.startswith(start) else b'' for name in names]
        fits = np.array([0 < len(key) <= known.itemsize for key in keys], bool)
        wanted = np.array([key if fit else b'' for key, fit in zip(keys, fits)], known.dtype)
        rows = np.searchsorted(known, wanted, side='right') - 1
        found = fits & (rows >= 0)
        found[found] = known[rows[found]] == wanted[found]
        return np.where(found, rows, -1)

    def _row(self, name: str) -> int:
        row, = self._rows([name]).tolist()
        if row < 0:
            raise KeyError(f'{self.ann_file} has no image named "{name}".')
        return row

    def _objects(self, row: int) -> Iterable[Tuple[int, bool, int, dict]]:
        """Yield class id, crowd flag, area and run-length code of the objects of an image, largest first."""
        arrays = self._arrays
        size = arrays['sizes'][row].tolist()
        for place in range(*arrays['first'][row:row + 2].tolist()):
            counts = arrays['codes'][arrays['ends'][place]:arrays['ends'][place + 1]].tobytes()
            yield (int(arrays['classes'][place]), bool(arrays['crowds'][place]), int(arrays['areas'][place]),
                   dict(size=size, counts=counts))

    def load_label_map(self, name: str, class_ids: Sequence[int]) -> np.ndarray:
        return self._draw(name, labels_of(class_ids), np.uint8, IGNORE)

    def load_class_numbers(self, name: str) -> np.ndarray:
        """Load all classes as a map of class numbers, as :class:`CocoMaskIndex` reads it.

        Args:
            name (str): Name of the image.

        Returns:
            np.ndarray: (H, W), 0 background, class id + 1. Up to 254 classes: uint8, 255 ignored; more: uint16, 65535
            ignored.

        Raises:
            ValueError: If there are more classes than numbers of 16 bits.
        """
        dtype, ignore = label_format(len(self.classes))
        return self._draw(name, {class_id: class_id + 1 for class_id in range(len(self.classes))}, dtype, ignore)

    def _draw(self, name: str, label_of: Mapping[int, int], dtype: type, ignore: int) -> np.ndarray:
        row = self._row(name)
        wanted = [(label_of[class_id], is_crowd, code) for class_id, is_crowd, _, code in self._objects(row)
                  if class_id in label_of and not (is_crowd and self.crowd == 'background')]
        label_map = np.zeros(self._arrays['sizes'][row], dtype)
        if self.crowd == 'ignore':
            # Crowds first: an annotated object on top of a crowd region counts.
            wanted = [(ignore if is_crowd else label, is_crowd, code)
                      for label, is_crowd, code in sorted(wanted, key=lambda item: not item[1])]
        # Objects of one label that follow each other are merged before they are decoded.
        for label, group in groupby(wanted, key=lambda item: item[0]):
            codes = [code for _, _, code in group]
            mask = coco_mask.decode(codes[0] if len(codes) == 1 else coco_mask.merge(codes))
            label_map[mask.astype(bool)] = label
        return label_map

    def class_pixels(self, name: str) -> Dict[int, int]:
        """Measure the area of the union of each class's objects; crowd regions count only as foreground."""
        found: Dict[int, list] = {}
        for class_id, is_crowd, area, code in self._objects(self._row(name)):
            if not is_crowd or self.crowd == 'foreground':
                found.setdefault(class_id, []).append((area, code))
        return {class_id: group[0][0] if len(group) == 1 else
                int(coco_mask.area(coco_mask.merge([code for _, code in group]))) for class_id, group in found.items()}

    def check_files(self, lists: ClassLists, list_name: str) -> None:
        """Check that all listed files exist, and that every listed image is annotated."""
        names = lists.names.tolist()
        unknown = [name for name, row in zip(names, self._rows(names).tolist()) if row < 0]
        if unknown:
            raise FileNotFoundError(f'{list_name} names {len(unknown)} image(s) that {self.ann_file} does not hold, '
                                    f'first "{unknown[0]}". The lists belong to other annotations.')
        super().check_files(lists, list_name)

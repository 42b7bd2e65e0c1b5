"""Class index over a COCO instances file."""
import logging
import os
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log
from pycocotools import mask as coco_mask

from mmfss.registry import DATASETS
from mmfss.utils.defaults import CROWD
from mmfss.utils.names import normal_name
from ..class_lists import ClassLists
from .base import IGNORE, ClassIndex, label_format, labels_of
from .coco_file import load_coco
from .coco_shapes import encode_shape, outlines


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
    only those are kept. Polygons of fewer than three points are left out; the log says how many.

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
        content = load_coco(self.ann_file, img_dir)
        self.prefix = content['img_dir']
        self.classes = tuple(category['name'] for category in content['categories'])
        self._class_of = {category['id']: number for number, category in enumerate(content['categories'])}
        self._store_images(content['images'])
        self._store_objects(content['annotations'])

    def _store_images(self, images: Sequence[dict]) -> None:
        self._sizes = np.array([(image['height'], image['width']) for image in images], np.int32).reshape(-1, 2)
        self._row = {normal_name(image['name']): row for row, image in enumerate(images)}
        self._row_of_id = {image['id']: row for row, image in enumerate(images)}

    def _store_objects(self, annotations: Sequence[dict]) -> None:
        """Keep the objects as arrays sorted by image, and by falling area inside an image."""
        rows, classes, crowds, areas, codes = [], [], [], [], []
        left_out: Dict[str, List[Any]] = {'have polygons of fewer than three points': [], 'cover no pixel': []}
        few_points, empty = left_out.values()
        # Encode the outlines
        for annotation in annotations:
            row, shape = self._row_of_id[annotation['image_id']], annotation['segmentation']
            code = encode_shape(shape, *self._sizes[row].tolist())
            if isinstance(shape, list) and len(outlines(shape)) < max(1, len(shape)):
                few_points.append(annotation.get('id'))
            if code is not None:
                rows.append(row)
                classes.append(self._class_of[annotation['category_id']])
                crowds.append(bool(annotation.get('iscrowd')))
                areas.append(int(coco_mask.area(code)))
                codes.append(code['counts'])
                if not areas[-1]:
                    empty.append(annotation.get('id'))
        self._log_left_out(left_out, len(annotations))
        # Sort and pack
        order = np.lexsort((-np.asarray(areas, np.int64), np.asarray(rows, np.int64))).astype(np.int64)
        lengths = np.array([len(codes[place]) for place in order], np.int64)
        self._codes = b''.join(codes[place] for place in order)
        self._ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._classes = np.asarray(classes, np.int32)[order]
        self._crowds = np.asarray(crowds, bool)[order]
        self._first = np.searchsorted(np.asarray(rows, np.int64)[order], np.arange(len(self._sizes) + 1))

    def _log_left_out(self, left_out: Mapping[str, Sequence[Any]], total: int) -> None:
        told = [f'{len(ids)} {what}, first {ids[0]}' for what, ids in left_out.items() if ids]
        if told:
            print_log(f'{self.ann_file}: of {total} annotations {"; ".join(told)}. These polygons and objects are left '
                      'out.', logger='current', level=logging.WARNING)

    def image_path(self, name: str) -> str:
        return self.locate(name)

    def mask_path(self, name: str, class_id: int) -> str:
        """The annotation file: it holds all masks."""
        return self.ann_file

    def image_names(self) -> List[str]:
        return sorted(self._row)

    def _objects(self, name: str) -> Iterable[Tuple[int, bool, dict]]:
        """Yield class id, crowd flag and run-length code of the objects of an image, largest first."""
        if name not in self._row:
            raise KeyError(f'{self.ann_file} has no image named "{name}".')
        row = self._row[name]
        size = self._sizes[row].tolist()
        for place in range(self._first[row], self._first[row + 1]):
            counts = self._codes[self._ends[place]:self._ends[place + 1]]
            yield int(self._classes[place]), bool(self._crowds[place]), dict(size=size, counts=counts)

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
        wanted = [(label_of[class_id], is_crowd, code) for class_id, is_crowd, code in self._objects(name)
                  if class_id in label_of and not (is_crowd and self.crowd == 'background')]
        label_map = np.zeros(self._sizes[self._row[name]], dtype)
        if self.crowd == 'ignore':
            # Crowds first: an annotated object on top of a crowd region counts.
            wanted = [(ignore if is_crowd else label, is_crowd, code)
                      for label, is_crowd, code in sorted(wanted, key=lambda item: not item[1])]
        for label, _, code in wanted:
            label_map[coco_mask.decode(code).astype(bool)] = label
        return label_map

    def class_pixels(self, name: str) -> Dict[int, int]:
        """Measure the area of the union of each class's objects; crowd regions count only as foreground."""
        codes: Dict[int, list] = {}
        for class_id, is_crowd, code in self._objects(name):
            if not is_crowd or self.crowd == 'foreground':
                codes.setdefault(class_id, []).append(code)
        return {class_id: int(coco_mask.area(coco_mask.merge(group))) for class_id, group in codes.items()}

    def check_files(self, lists: ClassLists, list_name: str) -> None:
        """Check that all listed files exist, and that every listed image is annotated."""
        unknown = [name for name in lists.names.tolist() if name not in self._row]
        if unknown:
            raise FileNotFoundError(f'{list_name} names {len(unknown)} image(s) that {self.ann_file} does not hold, '
                                    f'first "{unknown[0]}". The lists belong to other annotations.')
        super().check_files(lists, list_name)

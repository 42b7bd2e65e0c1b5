"""Class index over a COCO instances file."""
import json
import os
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from pycocotools import mask as coco_mask

from mmfss.registry import DATASETS
from mmfss.utils.names import normal_name
from ..class_lists import ClassLists
from .base import IGNORE, ClassIndex


@DATASETS.register_module()
class CocoInstanceIndex(ClassIndex):
    """COCO, or any data set annotated in its instances format.

    .. code-block:: none

        coco2014                                   data_root
        ├── annotations/instances_val2014.json     ann_file
        └── val2014/COCO_val2014_<12 digits>.jpg   img_dir

    Classes are the categories sorted by category id. The name of an image is ``<img_dir>/<file_name>``. A class's mask
    is the union of its objects; in a map of several classes the smaller object is on top. Polygons are turned into
    run-length codes once, when the file is read, and only those are kept.

    Args:
        data_root (str): Folder of the data set.
        ann_file (str): The instances file, below the root.
        img_dir (str): Folder of the images, also the first part of the names.
        crowd (str): What a crowd region is: ``'foreground'`` (default: an object like any other, so that no listed
            image loses its class), ``'ignore'`` (255) or ``'background'``.

    Raises:
        FileNotFoundError: If folder or file do not exist.
        ValueError: If the file is not an instances file, or ``crowd`` is unknown.
    """

    CROWD = ('foreground', 'ignore', 'background')

    def __init__(self,
                 data_root: str,
                 ann_file: str = 'annotations/instances_val2014.json',
                 img_dir: str = 'val2014',
                 crowd: str = 'foreground') -> None:
        if crowd not in self.CROWD:
            raise ValueError(f'crowd must be one of {self.CROWD}, got {crowd!r}.')
        super().__init__(data_root)
        self.require_dir(img_dir)
        self.prefix = img_dir.strip('/')
        self.crowd = crowd
        self.ann_file = os.path.join(self.data_root, ann_file)
        content = self._read()
        categories = sorted(content['categories'], key=lambda category: category['id'])
        self.classes = tuple(category['name'] for category in categories)
        self._class_of = {category['id']: number for number, category in enumerate(categories)}
        self._store_images(content['images'])
        self._store_objects(content['annotations'])

    def _read(self) -> dict:
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(f'The COCO annotation file "{self.ann_file}" does not exist (ann_file).')
        try:
            with open(self.ann_file, encoding='utf-8-sig') as file:
                content = json.load(file)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f'The COCO annotation file {self.ann_file} is not JSON: {error}') from error
        missing = [key for key in ('images', 'annotations', 'categories') if key not in content]
        if missing:
            raise ValueError(f'The file {self.ann_file} is not a COCO instances file: it has no {missing}.')
        return content

    def _store_images(self, images: Sequence[dict]) -> None:
        self._sizes = np.array([(image['height'], image['width']) for image in images], np.int32).reshape(-1, 2)
        self._row = {self._name(image['file_name']): row for row, image in enumerate(images)}
        self._row_of_id = {image['id']: row for row, image in enumerate(images)}

    def _name(self, file_name: str) -> str:
        return normal_name(f'{self.prefix}/{file_name}' if self.prefix else file_name)

    def _store_objects(self, annotations: Sequence[dict]) -> None:
        """Keep the objects as arrays sorted by image, and by falling area inside an image."""
        rows, classes, crowds, areas, codes = [], [], [], [], []
        for annotation in annotations:
            row = self._row_of_id.get(annotation['image_id'])
            class_id = self._class_of.get(annotation['category_id'])
            if row is None or class_id is None:
                raise ValueError(f'{self.ann_file}: annotation {annotation.get("id")} names an image or category '
                                 'that is not in the file.')
            code = self._encode(annotation, row)
            if code is not None:
                rows.append(row)
                classes.append(class_id)
                crowds.append(bool(annotation.get('iscrowd', 0)))
                areas.append(int(coco_mask.area(code)))
                codes.append(code['counts'])
        order = np.lexsort((-np.asarray(areas, np.int64), np.asarray(rows, np.int64))).astype(np.int64)
        lengths = np.array([len(codes[place]) for place in order], np.int64)
        self._codes = b''.join(codes[place] for place in order)
        self._ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._classes = np.asarray(classes, np.int32)[order]
        self._crowds = np.asarray(crowds, bool)[order]
        self._first = np.searchsorted(np.asarray(rows, np.int64)[order], np.arange(len(self._sizes) + 1))

    def _encode(self, annotation: dict, row: int) -> Optional[dict]:
        """Run-length code of an object: from polygons, from plain counts, or as stored. None for an empty polygon."""
        height, width = self._sizes[row].tolist()
        shape, number = annotation.get('segmentation'), annotation.get('id')
        if not isinstance(shape, list) and not (isinstance(shape, dict) and {'size', 'counts'} <= set(shape)):
            raise ValueError(f'{self.ann_file}: annotation {number} has no "segmentation", polygons or run lengths. '
                             'Boxes alone make no masks.')
        if isinstance(shape, dict) and list(shape['size']) != [height, width]:
            raise ValueError(f'{self.ann_file}: annotation {number} is a mask of size {shape["size"]} (H, W), its '
                             f'image has {[height, width]}.')
        if isinstance(shape, list):
            polygons = [polygon for polygon in shape if len(polygon) >= 6]
            codes = coco_mask.frPyObjects(polygons, height, width) if polygons else [None]
            return codes[0] if len(codes) == 1 else coco_mask.merge(codes)
        if isinstance(shape['counts'], list):
            return coco_mask.frPyObjects(shape, height, width)
        counts = shape['counts']
        return dict(size=[height, width], counts=counts.encode() if isinstance(counts, str) else counts)

    def image_path(self, name: str) -> str:
        """See :meth:`ClassIndex.image_path`."""
        return self.locate(name)

    def mask_path(self, name: str, class_id: int) -> str:
        """The annotation file: it holds all masks."""
        return self.ann_file

    def image_names(self) -> List[str]:
        """See :meth:`ClassIndex.image_names`."""
        return sorted(self._row)

    def _objects(self, name: str) -> Iterable[Tuple[int, bool, dict]]:
        """Class id, crowd flag and run-length code of the objects of an image, largest first."""
        if name not in self._row:
            raise KeyError(f'{self.ann_file} has no image named "{name}".')
        row = self._row[name]
        size = self._sizes[row].tolist()
        for place in range(self._first[row], self._first[row + 1]):
            counts = self._codes[self._ends[place]:self._ends[place + 1]]
            yield int(self._classes[place]), bool(self._crowds[place]), dict(size=size, counts=counts)

    def load_label_map(self, name: str, class_ids: Sequence[int]) -> np.ndarray:
        """See :meth:`ClassIndex.load_label_map`."""
        label_of = {class_id: label for label, class_id in enumerate(class_ids, start=1)}
        wanted = [(label_of[class_id], is_crowd, code) for class_id, is_crowd, code in self._objects(name)
                  if class_id in label_of and not (is_crowd and self.crowd == 'background')]
        label_map = np.zeros(self._sizes[self._row[name]], np.uint8)
        if self.crowd == 'ignore':
            # Crowds first: an annotated object on top of a crowd region counts.
            wanted = [(IGNORE if is_crowd else label, is_crowd, code)
                      for label, is_crowd, code in sorted(wanted, key=lambda item: not item[1])]
        for label, _, code in wanted:
            label_map[coco_mask.decode(code).astype(bool)] = label
        return label_map

    def class_pixels(self, name: str) -> Dict[int, int]:
        """Area of the union of each class's objects; crowd regions count only as foreground."""
        codes: Dict[int, list] = {}
        for class_id, is_crowd, code in self._objects(name):
            if not is_crowd or self.crowd == 'foreground':
                codes.setdefault(class_id, []).append(code)
        return {class_id: int(coco_mask.area(coco_mask.merge(group))) for class_id, group in codes.items()}

    def check_files(self, lists: ClassLists, list_name: str) -> None:
        """Also make sure that every listed image is annotated. See :meth:`ClassIndex.check_files`."""
        unknown = [name for name in lists.names.tolist() if name not in self._row]
        if unknown:
            raise FileNotFoundError(f'{list_name} names {len(unknown)} image(s) that {self.ann_file} does not hold, '
                                    f'first "{unknown[0]}". The lists belong to other annotations.')
        super().check_files(lists, list_name)

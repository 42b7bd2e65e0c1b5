"""Arrays of the objects of a COCO file, derived once per machine and kept beside it."""
import ctypes
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from pycocotools import mask as coco_mask

from mmfss.utils.names import normal_name
from ..array_cache import Derived, cache_file, cached_arrays, file_digest, file_state, is_same_file
from .coco_file import load_coco
from .coco_shapes import encode_shape, outlines

FORMAT = 1
"""Number of the layout of the arrays: files of another one are derived anew."""
MIN_BYTES = 2**23
"""Smallest annotation file whose arrays are kept; smaller ones are read in less than a second."""


def coco_arrays(ann_file: str) -> Derived:
    """Load the objects of a COCO file as arrays.

    Letters: n images, m objects with an outline. Images are sorted by name, objects by image and then by falling area.

    Args:
        ann_file (str): The file.

    Returns:
        Derived: Arrays ``names`` (n, ) UTF-8, without the folder of the images; ``sizes`` (n, 2), height and width;
        ``first`` (n + 1, ), the first object of each image; ``classes``, ``crowds`` and ``areas`` (m, );
        ``codes``, the bytes of all run-length codes, and ``ends`` (m + 1, ), where each ends. Plain values ``classes``,
        the names of the categories; ``by_url``, see :func:`normalize_coco`; ``num_annotations`` and ``left_out``, what
        :class:`CocoInstanceIndex` logs.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file or one of its entries is unusable.
    """
    path = Path(ann_file)
    if not path.is_file() or file_state(path)['size'] < MIN_BYTES:
        return _derive(ann_file)

    def is_current(meta: Mapping[str, Any]) -> bool:
        return meta['format'] == FORMAT and is_same_file(path, meta['state'], meta['digest'])

    def derive() -> Derived:
        state = file_state(path)
        arrays, meta = _derive(ann_file)
        _return_memory()
        return Derived(arrays, dict(meta, format=FORMAT, state=state, digest=file_digest(path)))

    return cached_arrays(cache_file(path, 'objects'), path, is_current, derive)


def _derive(ann_file: str) -> Derived:
    content = load_coco(ann_file)
    images, categories = content['images'], content['categories']
    names = np.array([normal_name(image['name']).encode('utf-8', 'surrogatepass') for image in images], 'S')
    order = np.argsort(names, kind='stable')
    images = [images[place] for place in order]
    objects, left_out = _objects(content['annotations'], images, categories)
    sizes = np.array([(image['height'], image['width']) for image in images], np.int32).reshape(-1, 2)
    meta = dict(classes=[category['name'] for category in categories], by_url=content['by_url'],
                num_annotations=len(content['annotations']), left_out=left_out)
    return Derived(dict(objects, names=names[order], sizes=sizes), meta)


def _objects(annotations: Sequence[Dict], images: Sequence[Dict],
             categories: Sequence[Dict]) -> Tuple[Dict[str, np.ndarray], Dict[str, Any]]:
    """Encode the outlines; tell how many polygons and objects are left out, and the first of them."""
    row_of = {image['id']: row for row, image in enumerate(images)}
    class_of = {category['id']: number for number, category in enumerate(categories)}
    rows, classes, crowds, areas, codes = [], [], [], [], []
    left_out: Dict[str, List[Any]] = {'have polygons of fewer than three points': [], 'cover no pixel': []}
    few_points, empty = left_out.values()
    # Encode the outlines
    for annotation in annotations:
        row, shape = row_of[annotation['image_id']], annotation['segmentation']
        code = encode_shape(shape, images[row]['height'], images[row]['width'])
        if isinstance(shape, list) and len(outlines(shape)) < max(1, len(shape)):
            few_points.append(annotation.get('id'))
        if code is not None:
            rows.append(row)
            classes.append(class_of[annotation['category_id']])
            crowds.append(bool(annotation.get('iscrowd')))
            areas.append(int(coco_mask.area(code)))
            codes.append(code['counts'])
            if not areas[-1]:
                empty.append(annotation.get('id'))
    # Sort and pack
    row_array, area_array = np.asarray(rows, np.int64), np.asarray(areas, np.int64)
    order = np.lexsort((-area_array, row_array)).astype(np.int64)
    lengths = np.array([len(codes[place]) for place in order], np.int64)
    arrays = dict(
        codes=np.frombuffer(b''.join(codes[place] for place in order), np.uint8),
        ends=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        classes=np.asarray(classes, np.int32)[order],
        crowds=np.asarray(crowds, bool)[order],
        areas=area_array[order],
        first=np.searchsorted(row_array[order], np.arange(len(images) + 1)))
    return arrays, {what: [len(ids), ids[0]] for what, ids in left_out.items() if ids}


def _return_memory() -> None:
    """Give back to the system what parsing took, if the C library is glibc: a quarter of a gigabyte for COCO."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)

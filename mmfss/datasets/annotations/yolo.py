"""YOLO's text files of polygons, one for each picture."""
from math import isfinite
from pathlib import Path
from typing import Dict, Optional, Tuple

import yaml

from .objects import PictureObjects, parent_file, polygon_code

_NAME_LISTS = ('classes.txt', 'obj.names')
_DATASETS = ('data.yaml', 'dataset.yaml', 'data.yml')


def read_yolo(path: Path, size: Tuple[int, int]) -> PictureObjects:
    """Read the polygons of a YOLO segmentation file: ``class x1 y1 x2 y2 ...`` in each line.

    Coordinates are shares of the picture's width and height, 0 to 1. Class names come from ``data.yaml`` or
    ``classes.txt`` in the folder of the file or up to two folders above; without such a file, a class is called by its
    number.

    Args:
        path (Path): The file.
        size (tuple[int, int]): Height and width of the picture.

    Returns:
        PictureObjects: The objects.

    Raises:
        ValueError: If a line is no polygon; the message names file and line.
    """
    names = _class_names(path)
    labels, codes = [], []
    for number, line in enumerate(path.read_text(encoding='utf-8-sig').splitlines(), start=1):
        if not line.strip():
            continue
        where = f'{path}: line {number}'
        label, *texts = line.split()
        try:
            values = [float(text) for text in texts]
        except ValueError as error:
            raise ValueError(f'{where} is no polygon ({error}): write "class x1 y1 x2 y2 ...".') from error
        if len(values) == 4:
            raise ValueError(f'{where} is a box (class, centre, size), which is no mask. Export polygons (YOLO '
                             'segmentation).')
        if not label.isdigit():
            raise ValueError(f'{where} begins with "{label}", not with the number of a class.')
        if not all(isfinite(value) and -0.01 <= value <= 1.01 for value in values):
            raise ValueError(f'{where} has coordinates outside 0 to 1: they are shares of the width and the height.')
        if names is not None and int(label) not in names:
            raise ValueError(f'{where} has class {label}; the list beside it has {len(names)} names.')
        height, width = size
        polygon = [value * (height if place % 2 else width) for place, value in enumerate(values)]
        labels.append(label if names is None else names[int(label)])
        codes.append(polygon_code(polygon, size, where))
    return PictureObjects(str(path), size, tuple(labels), tuple(codes))


def _class_names(path: Path) -> Optional[Dict[int, str]]:
    """Read the names of the classes, by number."""
    listed = parent_file(path, _DATASETS)
    if listed is not None:
        try:
            names = yaml.safe_load(listed.read_text(encoding='utf-8-sig')).get('names')
        except (yaml.YAMLError, AttributeError) as error:
            raise ValueError(f'{listed} is not a dataset file of YOLO with "names": {error}') from error
        if isinstance(names, (list, dict)):
            pairs = enumerate(names) if isinstance(names, list) else names.items()
            return {int(number): str(name) for number, name in pairs}
    listed = parent_file(path, _NAME_LISTS)
    if listed is None:
        return None
    return dict(enumerate(line.strip() for line in listed.read_text(encoding='utf-8-sig').splitlines() if line.strip()))

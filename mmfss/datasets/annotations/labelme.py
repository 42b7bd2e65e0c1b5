"""LabelMe's JSON files, one for each picture."""
import base64
import binascii
import io
from math import atan2, ceil, cos, hypot, pi, sin
from typing import Any, Dict, List, Tuple

import numpy as np
from PIL import Image

from .objects import PictureObjects, mask_code, polygon_code

_NO_AREA = ('point', 'points', 'line', 'linestrip')


def is_labelme(content: Any) -> bool:
    """Check whether parsed JSON is a file of LabelMe."""
    return isinstance(content, dict) and isinstance(content.get('shapes'), list)


def read_labelme(content: Dict[str, Any], file: str, size: Tuple[int, int]) -> PictureObjects:
    """Read the objects of a LabelMe file.

    Polygons, rectangles, oriented rectangles, circles and painted masks are areas. Points and lines are not, and are
    refused.

    Args:
        content (dict): The file, as parsed from JSON.
        file (str): Its path, for messages.
        size (tuple[int, int]): Height and width of the picture, which count where the file does not tell.

    Returns:
        PictureObjects: The objects.

    Raises:
        ValueError: If a shape is unusable; the message names the file and the shape.
    """
    height, width = (content.get(key) or side for key, side in zip(('imageHeight', 'imageWidth'), size))
    if not all(type(side) is int and side > 0 for side in (height, width)):
        raise ValueError(f'{file} has imageHeight {height!r} and imageWidth {width!r}: both are whole pixels.')
    labels, codes = [], []
    for number, shape in enumerate(content['shapes']):
        where = f'{file}: shape {number}'
        if not isinstance(shape, dict) or not isinstance(shape.get('label'), str) or not shape['label'].strip():
            raise ValueError(f'{where} has no "label".')
        where += f' ("{shape["label"]}")'
        labels.append(shape['label'].strip())
        codes.append(_code(shape, (height, width), where))
    return PictureObjects(file, (height, width), tuple(labels), tuple(codes))


def _code(shape: Dict[str, Any], size: Tuple[int, int], where: str) -> Dict[str, Any]:
    kind = shape.get('shape_type') or 'polygon'
    points = _points(shape.get('points'), where)
    if kind in _NO_AREA:
        raise ValueError(f'{where} is a {kind}, which has no area. Draw the object as a polygon.')
    if kind == 'mask':
        return _painted(shape, points, size, where)
    if kind == 'rectangle' and len(points) == 2:
        (left, top), (right, bottom) = points
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    elif kind == 'circle':
        points = _circle(points, size, where)
    elif kind not in ('polygon', 'rectangle', 'oriented_rectangle'):
        raise ValueError(f'{where} has the unknown shape_type "{kind}". Draw the object as a polygon.')
    return polygon_code([float(number) for point in points for number in point], size, where)


def _points(points: Any, where: str) -> List[Tuple[float, float]]:
    if not isinstance(points, list) or not all(
            isinstance(point, list) and len(point) == 2 and set(map(type, point)) <= {int, float} for point in points):
        raise ValueError(f'{where} has no "points", a list of [x, y].')
    return [tuple(point) for point in points]


def _circle(points: List[Tuple[float, float]], size: Tuple[int, int], where: str) -> List[Tuple[float, float]]:
    """Turn centre and a point of the circle into a polygon that is nowhere a tenth of a pixel off."""
    if len(points) != 2:
        raise ValueError(f'{where} is a circle of {len(points)} points: it has two, its centre and one of its edge.')
    (x, y), (edge_x, edge_y) = points
    radius = hypot(edge_x - x, edge_y - y)
    if not radius <= 2 * max(size):
        raise ValueError(f'{where} is a circle with a radius of {radius} pixels in a picture of {size[1]} x {size[0]}.')
    start, count = atan2(edge_y - y, edge_x - x), max(12, ceil(pi * (5 * radius)**0.5))
    angles = [start + 2 * pi * step / count for step in range(count)]
    return [(x + radius * cos(angle), y + radius * sin(angle)) for angle in angles]


def _painted(shape: Dict[str, Any], points: List[Tuple[float, float]], size: Tuple[int, int],
             where: str) -> Dict[str, Any]:
    """Read a painted mask: a PNG in base64 that fills the box between two points."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape['mask'], validate=True))) as picture:
            patch = np.array(picture) > 0
    except (KeyError, TypeError, binascii.Error, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f'{where} has no readable "mask", a PNG in base64: {error}') from error
    if len(points) != 2 or patch.ndim != 2:
        raise ValueError(f'{where} is a mask without its two corner points.')
    left, top = (int(round(value)) for value in points[0])
    bottom, right = top + patch.shape[0], left + patch.shape[1]
    if min(left, top) < 0 or bottom > size[0] or right > size[1]:
        raise ValueError(f'{where} is a mask of {patch.shape[1]} x {patch.shape[0]} pixels at x = {left}, y = {top}, '
                         f'which leaves the picture of {size[1]} x {size[0]}.')
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = patch
    return mask_code(mask)

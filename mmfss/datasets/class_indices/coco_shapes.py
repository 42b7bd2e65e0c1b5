"""Validation of the outlines of COCO objects, and their run-length codes.

pycocotools trusts what it is given: runs that do not fill the picture give masks of memory that nobody wrote, and a
coordinate that is no number takes all memory of the machine. So nothing reaches it that :func:`shape_fault` and
:func:`code_fault` have not passed.
"""
import json
from math import isfinite
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from pycocotools import mask as coco_mask

_NUMBERS = {int, float}
MIN_NUMBERS = 6  # of a polygon: three points
_DIGITS = bytes(range(48, 112))  # of a compressed code
_MAX_DIGITS = 7  # of a run: 35 bits


class Fault(NamedTuple):
    """Describe what is wrong with an entry, and what would be right."""
    text: str
    cure: str


def shown(value: Any) -> str:
    """Format a value as JSON, cut to a few characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f'{text[:37]}...'


def shape_fault(shape: Any, height: int, width: int) -> Optional[Fault]:
    """Check the ``segmentation`` of an annotation, apart from compressed run lengths (see :func:`code_fault`).

    Polygons are lists of an even count of numbers, none further outside the picture than its longer side; polygons of
    fewer than three points are no fault, they are left out later. Run lengths fill the picture exactly.

    Args:
        shape (Any): The value, as parsed from JSON.
        height (int): Height of the picture, pixels.
        width (int): Width of the picture, pixels.

    Returns:
        Fault, optional: What is wrong; None if nothing is.

    Example:
        >>> shape_fault([[0, 0, 8, 0, 8, 8]], 10, 10) is None
        True
        >>> shape_fault([0, 0, 8, 0, 8, 8], 10, 10).text
        'has the number 0 in place of a polygon'
    """
    if isinstance(shape, list):
        for polygon in shape:
            if not _is_plain(polygon, height, width):
                fault = _polygon_fault(polygon, height, width)
                if fault is not None:
                    return fault
        return None
    # Run lengths
    if not isinstance(shape, dict) or not {'size', 'counts'} <= set(shape):
        return Fault('has no "segmentation", polygons or run lengths', 'Boxes alone make no masks.')
    if shape['size'] != [height, width]:
        return Fault(f'is a mask of size {shown(shape["size"])} (H, W), its image has {[height, width]}',
                     'Both must be of one size.')
    counts = shape['counts']
    if isinstance(counts, list):
        return _runs_fault(counts, height, width)
    if not isinstance(counts, (str, bytes)):
        return Fault(f'has "counts" {shown(counts)}', 'Run lengths are a list of numbers or the text of pycocotools.')
    return None


def _is_plain(polygon: Any, height: int, width: int) -> bool:
    """Check quickly whether a polygon is certainly valid; nearly all are."""
    if type(polygon) is not list or not polygon or len(polygon) % 2 or not set(map(type, polygon)) <= _NUMBERS:
        return False
    longer, shorter = (width, height) if width > height else (height, width)
    # Of a list with NaN the extremes may be any of its values, but its sum is NaN.
    return -longer <= min(polygon) and max(polygon) <= shorter + longer and isfinite(sum(polygon))


def _polygon_fault(polygon: Any, height: int, width: int) -> Optional[Fault]:
    if type(polygon) in (int, float):
        return Fault(f'has the number {shown(polygon)} in place of a polygon',
                     'Write a list of polygons, [[x1, y1, x2, y2, ...]], also for a single one.')
    if not isinstance(polygon, list):
        return Fault(f'has {shown(polygon)} as a polygon', 'A polygon is a list of numbers, [x1, y1, x2, y2, ...].')
    # Numbers, x and y in turn
    kinds = set(map(type, polygon))
    if list in kinds:
        return Fault('has a polygon of points in pairs', 'Write its numbers in one list, [x1, y1, x2, y2, ...].')
    if not kinds <= _NUMBERS:
        wrong = next(value for value in polygon if type(value) not in (int, float))
        return Fault(f'has the coordinate {shown(wrong)}', 'Coordinates are numbers.')
    if len(polygon) % 2:
        return Fault(f'has a polygon of {len(polygon)} numbers', 'x and y alternate, so their count is even.')
    # Coordinates near the picture
    reach = max(height, width)
    for axis, values, side in (('x', polygon[::2], width), ('y', polygon[1::2], height)):
        wrong = max((value for value in values if not -reach <= value <= side + reach), key=abs, default=None)
        if wrong is not None:
            return Fault(f'has the coordinate {axis} = {shown(wrong)} in a picture of {width} x {height} pixels',
                         'Coordinates are finite and at most as far outside the picture as its longer side is long: '
                         'clip the polygons, or correct the size of the image entry.')
    return None


def _runs_fault(counts: List[Any], height: int, width: int) -> Optional[Fault]:
    if not set(map(type, counts)) <= {int} or min(counts, default=0) < 0:
        wrong = [value for value in counts if not _is_run(value)]
        if wrong:
            return Fault(f'has the run length {shown(wrong[0])}', 'Run lengths are whole numbers of 0 or more.')
    return _total_fault(sum(map(int, counts)), height, width)


def _is_run(value: Any) -> bool:
    return type(value) in (int, float) and value >= 0 and value == value // 1


def _total_fault(total: int, height: int, width: int) -> Optional[Fault]:
    if total == height * width:
        return None
    return Fault(f'has run lengths of {shown(total)} pixels in all, its picture of {width} x {height} has '
                 f'{height * width}',
                 'The runs must fill the picture column by column, the last run of background included.')


def code_fault(total: int, height: int, width: int) -> Optional[Fault]:
    """Check a compressed run-length code by its total of :func:`code_totals`."""
    if total < 0:
        return Fault('has "counts" that are no compressed run lengths',
                     'They are the text that pycocotools writes; it may be cut off or changed.')
    return _total_fault(total, height, width)


def code_totals(codes: Sequence[bytes]) -> np.ndarray:
    """Count the pixels of compressed run-length codes, many at once: some 0.1 us per character.

    A run is a number in base 32, lowest digit first; bit 5 of a character says that another follows, bit 4 of the last
    one is the sign. From the fourth on, the difference to the run before the last is stored.

    Args:
        codes (Sequence[bytes]): The codes.

    Returns:
        np.ndarray: Sum of the runs of each, (N, ) int64; -1 for an invalid code or a negative run.
    """
    totals = np.full(len(codes), -1, np.int64)
    places = [place for place, code in enumerate(codes) if _is_text(code)]
    if not places:
        return totals
    chars = np.frombuffer(b''.join(codes[place] for place in places), np.uint8).astype(np.int64) - 48
    sizes = np.array([len(codes[place]) for place in places])
    first_char = np.cumsum(sizes) - sizes

    # digits to runs and differences
    ends = np.flatnonzero((chars & 32) == 0)
    length = np.diff(ends, prepend=-1)
    digit = np.arange(len(chars)) - np.repeat(ends + 1 - length, length)
    runs = np.add.reduceat((chars & 31) << 5 * np.minimum(digit, _MAX_DIGITS), ends + 1 - length)
    runs -= np.where(chars[ends] & 16, np.left_shift(1, 5 * np.minimum(length, _MAX_DIGITS)), 0)

    # Differences add up along every other run: from the second and from the third one on.
    first_run = np.searchsorted(ends, first_char)
    place = np.arange(len(runs)) - np.repeat(first_run, np.diff(np.append(first_run, len(runs))))
    for start in (1, 2):
        chain = np.flatnonzero((place % 2 == start % 2) & (place > 0))
        begins = np.flatnonzero(place[chain] == start)
        sums = np.cumsum(runs[chain])
        before = sums[begins] - runs[chain[begins]]
        runs[chain] = sums - np.repeat(before, np.diff(np.append(begins, len(chain))))

    wrong = np.logical_or.reduceat((runs < 0) | (length > _MAX_DIGITS), first_run)
    totals[places] = np.where(wrong, -1, np.add.reduceat(runs, first_run))
    return totals


def _is_text(code: bytes) -> bool:
    """Whether a code has characters, all of them digits, and the last of them ends its run."""
    return len(code) > 0 and not code.translate(None, _DIGITS) and code[-1] < _DIGITS[32]


def outlines(shape: List[List[float]]) -> List[List[float]]:
    """Keep the polygons of at least three points; fewer enclose nothing."""
    return [polygon for polygon in shape if len(polygon) >= MIN_NUMBERS]


def encode_shape(shape: Any, height: int, width: int) -> Optional[Dict[str, Any]]:
    """Turn a checked ``segmentation`` into a compressed run-length code.

    Args:
        shape (list | dict): Polygons, run lengths or a compressed code, without a fault.
        height (int): Height of the picture, pixels.
        width (int): Width of the picture, pixels.

    Returns:
        dict, optional: ``size`` and ``counts`` (bytes) of pycocotools; None if no polygon has three points.
    """
    if isinstance(shape, list):
        polygons = outlines(shape)
        codes = coco_mask.frPyObjects(polygons, height, width) if polygons else [None]
        return codes[0] if len(codes) == 1 else coco_mask.merge(codes)
    if isinstance(shape['counts'], list):
        return coco_mask.frPyObjects(dict(size=[height, width], counts=shape['counts']), height, width)
    counts = shape['counts']
    return dict(size=[height, width], counts=counts.encode() if isinstance(counts, str) else counts)

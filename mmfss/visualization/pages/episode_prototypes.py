"""Prototype decomposition of an episode as data of a web page."""
from typing import Any, Callable, Mapping, Optional, Sequence

import numpy as np

from .decomposition import DecompositionCards, css, encode_maps
from .pictures import data_uri, round_numbers, shrink, view_size

_PATCH_SIDE = 128
# Of the support's longer side.
_PATCH_SHARE = 0.25

Arrays = Mapping[str, np.ndarray]
Record = Mapping[str, Any]


def reading_entry(records: Sequence[Record], arrays: Arrays,
                  support: Callable[[int, int], Optional[np.ndarray]]) -> dict[str, Any]:
    """Return the page data of an episode's prototypes.

    Args:
        records (Sequence[dict]): The record's ``prototypes``, one for each class.
        arrays (dict): The arrays of the episode.
        support (Callable): From a class and a shot to the picture (H, W, 3) RGB, or None.

    Returns:
        dict: ``maps`` of the query and ``classes``, which number them; ``sources`` by key, each with the ``shot`` and
        ``way`` of its support.
    """
    region_view, view = view_size(arrays['prediction'].shape), view_size(arrays['support_masks'].shape[2:])
    cards = DecompositionCards(arrays['prototypes/maps'], arrays['prototypes/choices'], region_view, css)
    sources: dict[str, dict[str, Any]] = {}
    classes = []
    for way, record in enumerate(records):
        # The sources of all shown prototypes, each once
        for group in record['groups']:
            for entry in group['prototypes']:
                key = f'{way}/{entry["index"]}'
                if 'map' in entry and key not in sources:
                    sources[key] = _source(entry, way, arrays, support, view)
        classes.append(cards.card(
            record, arrays['region'][way] > 0, f'Prototypes of {record["class_name"]}', css(way),
            lambda entry, way=way: f'{way}/{entry["index"]}'))
    return round_numbers(dict(maps=cards.encoded_maps(), classes=classes, sources=sources))


def _source(entry: Record, way: int, arrays: Arrays, support: Callable[[int, int], Optional[np.ndarray]],
            view: Sequence[int]) -> dict[str, Any]:
    """Draw the support cells of a prototype."""
    place = entry['source']
    shot, row, column, (high, wide) = place['shot'], place['row'], place['column'], place['grid']
    picture = support(way, shot)
    patch = None if picture is None else data_uri(shrink(_patch(picture, row, column, high, wide), _PATCH_SIDE), 75)
    made_of = np.float32(arrays['prototypes/assignments'][place['assignment']])
    return dict(
        name=f'support {shot + 1}', place=f'row {row}, column {column} of the grid', way=way, shot=shot, size=view,
        box=[column * view[0] / wide, row * view[1] / high, view[0] / wide, view[1] / high], patch=patch,
        map=encode_maps(made_of[None])[0])


def _patch(picture: np.ndarray, row: int, column: int, high: int, wide: int) -> np.ndarray:
    """Crop the surroundings of a cell."""
    sides = [max(round(_PATCH_SHARE * max(picture.shape[:2])), 1)] * 2
    centres = ((row + 0.5) / high * picture.shape[0], (column + 0.5) / wide * picture.shape[1])
    (top, bottom), (left, right) = (
        (max(0, round(centre - side / 2)), min(total, round(centre + side / 2)))
        for centre, side, total in zip(centres, sides, picture.shape[:2]))
    return picture[top:max(bottom, top + 1), left:max(right, left + 1)]

"""What the prototypes of a few-shot model said of an episode, as data of a web page."""
from typing import Any, Callable, Mapping, Optional, Sequence

import numpy as np

from ..overlay import class_palette
from .pictures import data_uri, outline, round_numbers, shrink, view_size
from .prototype_maps import choice_uri, colour_of, encode_maps, highest

_PATCH_SIDE = 128
# Of the support's longer side.
_PATCH_SHARE = 0.25
_NEUTRAL = '#8a8a8a'

Arrays = Mapping[str, np.ndarray]
Tree = Mapping[str, Any]


def reading_entry(trees: Sequence[Tree], arrays: Arrays,
                  support: Callable[[int, int], Optional[np.ndarray]]) -> dict[str, Any]:
    """What the page shows of the prototypes of an episode.

    Args:
        trees (Sequence[dict]): The record's ``prototypes``, see ``explain_reading`` in ``mmfss.engine``.
        arrays (dict): The arrays of the episode.
        support (Callable): From a class and a shot to the picture (H, W, 3) RGB, or None.

    Returns:
        dict: ``maps`` of the query and ``classes``, which number them; ``sources`` by key, each with the ``shot`` and
        ``way`` of its support.
    """
    region_view, view = view_size(arrays['prediction'].shape), view_size(arrays['support_masks'].shape[2:])
    maps = arrays['prototypes/maps']
    sources: dict[str, dict[str, Any]] = {}
    classes = []
    for way, tree in enumerate(trees):
        shown = [entry for group in tree['groups'] for entry in group['prototypes'] if 'map' in entry]
        for entry in {entry['index']: entry for entry in shown}.values():
            sources[f'{way}/{entry["index"]}'] = _source(entry, way, arrays, support, view)
        classes.append(_card(tree, way, arrays['region'][way] > 0, arrays, region_view, highest(maps, [tree])))
    return round_numbers(dict(maps=encode_maps(maps), classes=classes, sources=sources))


def _card(tree: Tree, way: int, region: np.ndarray, arrays: Arrays, view: Sequence[int], top: float) -> dict[str, Any]:
    """A class as the script draws it."""
    strongest = []
    if 'strongest_group' in tree:
        strongest.append(dict(caption='strongest group of the object', src=choice_uri(
            arrays['prototypes/choices'][tree['strongest_group']], region, view)))
    groups = [dict(
        title=f'{group["side"].capitalize()}, group {group["group"] + 1}',
        colour=colour_of(group['group']) if group['side'] == 'object' else _NEUTRAL, map=group['map'],
        formula=f'mean activation {group["log_activation"]:.2f}, part {group["contribution"]:+.2f}',
        more=sum('map' not in entry for entry in group['prototypes']),
        prototypes=[_prototype(entry, way) for entry in group['prototypes'] if 'map' in entry])
        for group in tree['groups']]
    terms = [dict(name=f'{group["side"]} {group["group"] + 1}', value=group['contribution'], colour=shown['colour'])
             for shown, group in zip(groups, tree['groups'])]
    terms += [dict(name=name, value=tree[name], colour=_NEUTRAL) for name in ('bias', 'decoder') if tree[name]]
    return dict(
        class_name=tree['class_name'], colour='rgb({},{},{})'.format(*class_palette(way + 1)[-1]),
        title=f'What the prototypes said: {tree["class_name"]}', region=outline(region, view), top=top,
        total=f'Mean log odds over {tree["pixels"]} pixels: {tree["odds"]:.2f}. It is the sum of:',
        strongest=strongest, terms=terms, groups=groups)


def _prototype(entry: Tree, way: int) -> dict[str, Any]:
    return dict(
        title=f'#{entry["index"]}', value=entry['contribution'], map=entry['map'], source=f'{way}/{entry["index"]}',
        scale=f'scale {entry["scale"]}', colour=colour_of(entry['scale']),
        detail=f'weight {entry["weight"]:.2f}, mean similarity {entry["similarity"]:.2f}')


def _source(entry: Tree, way: int, arrays: Arrays, support: Callable[[int, int], Optional[np.ndarray]],
            view: Sequence[int]) -> dict[str, Any]:
    """The support cells of a prototype."""
    place = entry['source']
    shot, row, column, (high, wide) = place['shot'], place['row'], place['column'], place['grid']
    picture = support(way, shot)
    patch = None if picture is None else data_uri(shrink(_patch(picture, row, column, high, wide), _PATCH_SIDE), 75)
    made_of = np.float32(arrays['prototypes/assignments'][entry['assignment']])
    return dict(
        name=f'support {shot + 1}', place=f'row {row}, column {column} of the grid', way=way, shot=shot, size=view,
        box=[column * view[0] / wide, row * view[1] / high, view[0] / wide, view[1] / high], patch=patch,
        map=encode_maps(made_of[None])[0])


def _patch(picture: np.ndarray, row: int, column: int, high: int, wide: int) -> np.ndarray:
    """The surroundings of a cell."""
    sides = [max(round(_PATCH_SHARE * max(picture.shape[:2])), 1)] * 2
    centres = ((row + 0.5) / high * picture.shape[0], (column + 0.5) / wide * picture.shape[1])
    (top, bottom), (left, right) = (
        (max(0, round(centre - side / 2)), min(total, round(centre + side / 2)))
        for centre, side, total in zip(centres, sides, picture.shape[:2]))
    return picture[top:max(bottom, top + 1), left:max(right, left + 1)]

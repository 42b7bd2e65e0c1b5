"""The record of a decomposed prediction, and one panel for each class of it.

A prediction of a model with prototypes, learned or made of the supports of an episode, is a sum: groups, each made of
prototypes, and further terms. Its record is plain data, one dict for each class:

.. code-block:: none

    class_name      name of the class
    pixels          number of explained pixels
    quantity        what is decomposed: 'logit' or 'log odds', the mean over these pixels
    total           its value: the sum of the contributions of all groups and terms
    groups          largest first; a model without groups has one without title
    ├── title         'group 2'; '' for prototypes that are in no group
    ├── colour        number of its colour, from 0; None for grey
    ├── weight        factor of the activation in the contribution; None if there is none
    ├── activation    mean activation; None without a title
    ├── contribution  its part of the total
    ├── map           number of its activation map; None without a title
    └── prototypes    largest first
        ├── index, scale  which prototype it is, and its scale
        ├── colour, weight, activation, contribution   as of a group
        ├── map           number of its similarity map, of those that are shown
        └── source        where it comes from, in words of the run; None if that is not known
    terms           what no group makes up: name, contribution, and class_id where it is that of another class
    choices         maps of the strongest group or prototype in each cell: caption, and the number of the choice
"""
from typing import Any, Callable, Mapping, Optional, Sequence

import cv2
import numpy as np

from .attribution_panel import fit
from .heatmap import colour_bar, draw_outline, overlay_heat
from .overlay import badge, caption_image, class_palette, legend_strip, overlay_mask, tile_images

TILE = 208
_PAIRS_IN_A_ROW = 3
_GREY = np.uint8([138, 138, 138])

Record = Mapping[str, Any]
Source = Callable[[Record], tuple[Optional[np.ndarray], str]]


def draw_decomposition(record: Record, overview: Sequence[tuple[str, np.ndarray]], image: np.ndarray,
                       region: np.ndarray, maps: np.ndarray, choices: np.ndarray, source: Source,
                       together: Sequence[Record] = (), remark: str = '') -> np.ndarray:
    """Draw the parts of a class.

    A row of overview pictures; then a row for each group: where it is found, and of each of its prototypes where it is
    found and what it was made of.

    Args:
        record (dict): The record of the class, see the module.
        overview (Sequence[tuple]): Captions and pictures (H, W, 3), uint8 RGB; the choices of the record are added.
        image (np.ndarray): The explained image, (H, W, 3), uint8 RGB.
        region (np.ndarray): Explained pixels, bool, of any size; outlined.
        maps (np.ndarray): The maps that the record numbers, (n, h, w).
        choices (np.ndarray): The choices that it numbers, (m, h, w).
        source (Callable): From the record of a prototype to the picture (H, W, 3) it was made of, uint8 RGB or None,
            and its caption.
        together (Sequence[dict]): Records whose maps share one scale with those of this one.
        remark (str): Further words at the foot.

    Returns:
        np.ndarray: The panel, uint8 RGB.
    """
    numbers = shown_maps([record, *together])
    heats = dict(zip(numbers, scale_jointly(maps[numbers])))
    small = fit(image, TILE)

    def heat_tile(node: Record, name: str, caption: str) -> np.ndarray:
        tile = draw_outline(overlay_heat(small, heats[node['map']]), region)
        colour = _GREY if node['colour'] is None else class_palette(node['colour'] + 1)[-1]
        return caption_image(badge(tile, name, colour), caption)

    # the image as a whole
    rows = [[caption_image(fit(picture, TILE), caption) for caption, picture in overview]]
    rows[0] += [caption_image(fit(overlay_choice(image, choices[entry['choice']], region), TILE), entry['caption'])
                for entry in record['choices']]
    # a row for each group, or several rows for prototypes without one
    for group in record['groups']:
        pairs = [[heat_tile(entry, f'#{entry["index"]}', f'scale {entry["scale"]}: {_share(entry, group)}'),
                  _source_tile(*source(entry), small.shape)]
                 for entry in group['prototypes'] if 'map' in entry]
        if group['map'] is not None:
            rows.append([heat_tile(group, group['title'], formula(group)), *(tile for pair in pairs for tile in pair)])
        else:
            rows += [[tile for pair in pairs[start:start + _PAIRS_IN_A_ROW] for tile in pair]
                     for start in range(0, len(pairs), _PAIRS_IN_A_ROW)]
    # the foot
    total = f'{record["class_name"]}: mean {record["quantity"]} {record["total"]:.2f}'
    rows.append([legend_strip(['less alike', colour_bar(160, 12), 'more, on one scale for all maps',
                               'white line: what is explained', total + (f', {remark}' if remark else '')])])
    return tile_images([row for row in rows if row])


def formula(node: Record) -> str:
    """Describe how the contribution of a group is computed, e.g. ``'1.20 x 3.4 = 4.08'``."""
    if node['weight'] is None:
        return f'{node["contribution"]:+.2f}'
    return f'{node["weight"]:.2f} x {node["activation"]:.3g} = {node["contribution"]:.3g}'


def _share(entry: Record, group: Record) -> str:
    """Describe the contribution of a prototype, and its share of the group's."""
    if not group['title']:
        return formula(entry)
    share = f' ({100 * entry["contribution"] / group["contribution"]:.0f} %)' if group['contribution'] else ''
    return f'{entry["contribution"]:+.3g}{share}'


def _source_tile(picture: Optional[np.ndarray], caption: str, shape: Sequence[int]) -> np.ndarray:
    """Fit the source into a frame of the given shape."""
    frame = np.full(shape, 236, np.uint8)
    if picture is None:
        return caption_image(frame, 'source not known')
    high, wide = picture.shape[:2]
    scale = min(shape[0] / high, shape[1] / wide)
    size = max(1, round(wide * scale)), max(1, round(high * scale))
    patch = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_CUBIC)
    top, left = (shape[0] - size[1]) // 2, (shape[1] - size[0]) // 2
    frame[top:top + size[1], left:left + size[0]] = patch
    return caption_image(frame, caption)


def overlay_choice(image: np.ndarray, choice: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Colour each pixel of a region by the group or prototype chosen there.

    Args:
        image (np.ndarray): (H, W, 3), uint8 RGB.
        choice (np.ndarray): Numbers from 0 on any grid, shape (h, w); enlarged by nearest neighbours.
        region (np.ndarray): Bool, of any size.

    Returns:
        np.ndarray: (H, W, 3), uint8 RGB: number n has colour n + 1 of :func:`class_palette`.
    """
    size = image.shape[1::-1]
    large, inside = (cv2.resize(np.asarray(x).astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT)
                     for x in (choice, region))
    return overlay_mask(image, np.where(inside > 0.5, large.astype(int) + 1, 0), alpha=0.6, contour_width=0)


def scale_jointly(maps: np.ndarray) -> np.ndarray:
    """Scale maps (n, h, w) to display values in [0, 1], by one scale for all; equal values become 0."""
    maps = np.asarray(maps, np.float32)
    low, high = (float(maps.min()), float(maps.max())) if maps.size else (0., 0.)
    return (maps - low) / (high - low) if high > low else np.zeros_like(maps)


def shown_maps(records: Sequence[Record]) -> list[int]:
    """List the numbers of the maps that the groups and prototypes of some classes show."""
    nodes = [node for record in records for group in record['groups'] for node in (group, *group['prototypes'])]
    return sorted({node['map'] for node in nodes if node.get('map') is not None})

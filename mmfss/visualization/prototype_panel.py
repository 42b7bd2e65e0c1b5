"""One picture per explained class: its groups, their prototypes, and the patches these were made of."""
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Sequence

import cv2
import numpy as np

from .attribution_panel import fit
from .heatmap import colour_bar, draw_outline, overlay_heat
from .overlay import badge, caption_image, class_palette, legend_strip, overlay_mask, tile_images

_PAIRS_IN_A_ROW = 3


@dataclass
class DrawnPrototype:
    """A prototype in a panel.

    Attributes:
        number (int): Which one it is; said in the corner.
        caption (str): Its scale, and its part of what is explained.
        heat (np.ndarray): Where it is found, display values in [0, 1], shape (h, w).
        source (np.ndarray, optional): What it was made of, (H, W, 3), uint8 RGB.
        source_caption (str): Where that is from.
        colour (int): Its number among the prototypes of the class, 0 or more: its colour in :func:`overlay_choice`.
    """
    number: int
    caption: str
    heat: np.ndarray
    source: Optional[np.ndarray]
    source_caption: str
    colour: int


@dataclass
class DrawnGroup:
    """A group in a panel; without a heat map, prototypes that are in none.

    Attributes:
        caption (str): Its part of what is explained.
        heat (np.ndarray, optional): Where it is found, display values in [0, 1], shape (h, w).
        prototypes (list[DrawnPrototype]): Those that are shown.
        number (int): Its number, 0 or more: its colour in :func:`overlay_choice`.
        name (str): What the corner says.
    """
    caption: str
    heat: Optional[np.ndarray] = None
    prototypes: list[DrawnPrototype] = field(default_factory=list)
    number: int = 0
    name: str = ''


def draw_prototypes(overview: Sequence[tuple[str, np.ndarray]], image: np.ndarray, groups: Sequence[DrawnGroup],
                    region: Optional[np.ndarray] = None, remark: str = '', tile_side: int = 208) -> np.ndarray:
    """Draw the parts of a class.

    A row of overview pictures; then a row for each group: where it is found, and of each of its prototypes where it is
    found and what it was made of.

    Args:
        overview (Sequence[tuple]): Captions and pictures (H, W, 3), uint8 RGB.
        image (np.ndarray): The explained image, (H, W, 3), uint8 RGB.
        groups (Sequence[DrawnGroup]): The groups.
        region (np.ndarray, optional): Explained pixels, bool, of any size; outlined.
        remark (str): Further words at the foot.
        tile_side (int): Longer side of every picture, in pixels.

    Returns:
        np.ndarray: The panel, uint8 RGB.
    """
    rows = [[caption_image(fit(picture, tile_side), caption) for caption, picture in overview]]
    small = fit(image, tile_side)


    def heat_tile(heat: np.ndarray, caption: str, name: str, colour: int) -> np.ndarray:
        tile = overlay_heat(small, heat)
        if region is not None:
            tile = draw_outline(tile, region)
        return caption_image(badge(tile, name, class_palette(colour + 1)[-1]), caption)

    for group in groups:
        pairs = [[heat_tile(prototype.heat, prototype.caption, f'#{prototype.number}', prototype.colour),
                  _source_tile(prototype, small.shape)] for prototype in group.prototypes]
        if group.heat is not None:
            tile = heat_tile(group.heat, group.caption, group.name, group.number)
            rows.append([tile, *(picture for pair in pairs for picture in pair)])
        else:
            rows += [[picture for pair in pairs[start:start + _PAIRS_IN_A_ROW] for picture in pair]
                     for start in range(0, len(pairs), _PAIRS_IN_A_ROW)]
    foot = ['less alike', colour_bar(160, 12), 'more, on one scale for all maps']
    rows.append([legend_strip([*foot, *filter(None, ['white line: what is explained' if region is not None else '',
                                                     remark])])])
    return tile_images([row for row in rows if row])


def _source_tile(prototype: DrawnPrototype, shape: Sequence[int]) -> np.ndarray:
    """The source within a frame of the given shape."""
    frame = np.full(shape, 236, np.uint8)
    if prototype.source is None:
        return caption_image(frame, 'source not known')
    high, wide = prototype.source.shape[:2]
    scale = min(shape[0] / high, shape[1] / wide)
    size = max(1, round(wide * scale)), max(1, round(high * scale))
    patch = cv2.resize(np.ascontiguousarray(prototype.source), size, interpolation=cv2.INTER_CUBIC)
    top, left = (shape[0] - size[1]) // 2, (shape[1] - size[0]) // 2
    frame[top:top + size[1], left:left + size[0]] = patch
    return caption_image(frame, prototype.source_caption)


def overlay_choice(image: np.ndarray, choice: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Colour each pixel of a region by what was chosen there.

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
    """Maps (n, h, w) of any range to display values in [0, 1], by one scale for all; equal values become 0."""
    maps = np.asarray(maps, np.float32)
    low, high = (float(maps.min()), float(maps.max())) if maps.size else (0., 0.)
    return (maps - low) / (high - low) if high > low else np.zeros_like(maps)


def shown_maps(trees: Sequence[Mapping[str, Any]]) -> list[int]:
    """Numbers of the maps of some classes' groups and prototypes.

    Args:
        trees (Sequence[dict]): Entries of a record: ``groups`` with ``prototypes``, or ``prototypes`` alone; those that
            are shown have a ``map``.
    """
    nodes = [node for tree in trees for group in tree.get('groups', [tree]) for node in (group, *group['prototypes'])]
    return sorted({node['map'] for node in nodes if 'map' in node})

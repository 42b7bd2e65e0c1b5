"""Draw the panels of an explained episode."""
from typing import Any, Sequence

import cv2
import numpy as np

from mmfss.visualization.attribution_panel import fit, fit_labels
from mmfss.visualization.heatmap import draw_outline, overlay_heat
from mmfss.visualization.overlay import overlay_mask
from mmfss.visualization.prototype_panel import (
    DrawnGroup,
    DrawnPrototype,
    draw_prototypes,
    overlay_choice,
    scale_jointly,
    shown_maps,
)
from mmfss.visualization.prototype_pictures import cell_box
from ..run_folder import Arrays, Record
from .prototypes import SIDE_NAMES, Tree

_BACKGROUND_ROWS = 2
_TILE = 208


def draw_episode_prototypes(query: np.ndarray, supports: Sequence[Sequence[np.ndarray]], record: Record,
                            arrays: Arrays) -> dict[str, np.ndarray]:
    """Draw what the prototypes said of an episode.

    Args:
        query (np.ndarray): (h, w, 3), uint8 RGB.
        supports (Sequence[Sequence[np.ndarray]]): N lists of K images, each (H, W, 3) uint8 RGB.
        record (dict): The episode's record, with ``prototypes``.
        arrays (dict): Its arrays.

    Returns:
        dict[str, np.ndarray]: A panel of each class by file name.
    """
    panels = {}
    for way, tree in enumerate(record['prototypes']):
        region = arrays['region'][way].astype(bool)
        labels = fit_labels(arrays['prediction'], query)
        overview = [('query', query), ('prediction', draw_outline(overlay_mask(query, labels), region))]
        if 'strongest_group' in tree:
            choice = arrays['prototypes/choices'][tree['strongest_group']]
            overview.append(('strongest group of the object', overlay_choice(query, choice, region)))
        for shot, (image, mask) in enumerate(zip(supports[way], arrays['support_masks'][way])):
            labels = fit_labels(mask * (way + 1), image)
            overview.append((f'support {shot + 1}', overlay_mask(image, labels, alpha=0.3)))
        numbers = shown_maps([tree])
        heats = dict(zip(numbers, scale_jointly(arrays['prototypes/maps'][numbers])))
        panels[f'panel_prototypes_{way + 1}.png'] = draw_prototypes(
            overview, query, [_group(group, heats, supports[way], arrays) for group in _shown(tree['groups'])], region,
            f'{tree["class_name"]}: mean log odds {tree["odds"]:.2f}, of it the decoder {tree["decoder"]:+.2f}', _TILE)
    return panels


def _shown(groups: Sequence[Tree]) -> list[Tree]:
    """All groups of the object, and the largest ones of the background."""
    background = [group for group in groups if group['side'] == SIDE_NAMES[1]]
    return [group for group in groups if group['side'] == SIDE_NAMES[0]] + background[:_BACKGROUND_ROWS]


def _group(group: Tree, heats: dict[int, np.ndarray], supports: Sequence[np.ndarray], arrays: Arrays) -> DrawnGroup:
    prototypes = [
        DrawnPrototype(
            entry['index'], f'scale {entry["scale"]}: {entry["contribution"]:+.2f}', heats[entry['map']],
            source_picture(supports[entry['source']['shot']], arrays['prototypes/assignments'][entry['assignment']],
                           entry['source']), f'made of support {entry["source"]["shot"] + 1}', entry['scale'])
        for entry in group['prototypes'] if 'map' in entry]
    return DrawnGroup(f'{group["side"]}: {group["contribution"]:+.2f}', heats[group['map']], prototypes, group['group'],
                      f'{group["side"][0]}{group["group"] + 1}')


def source_picture(image: np.ndarray, assignment: np.ndarray, source: dict[str, Any]) -> np.ndarray:
    """A support with the cells that a prototype was made of, and a frame around the one that stands for it.

    Args:
        image (np.ndarray): (H, W, 3), uint8 RGB.
        assignment (np.ndarray): Weights of its cells, 0 to 1, (h', w').
        source (dict): ``row``, ``column`` and ``grid`` of the cell.

    Returns:
        np.ndarray: uint8 RGB, the longer side as that of a panel's tiles.
    """
    picture = fit(image, _TILE)
    box = cell_box(source['row'], source['column'], source['grid'], picture.shape[:2])
    drawn = np.ascontiguousarray(overlay_heat(picture, assignment.astype(np.float32), alpha=0.6))
    for colour, width in (((20, 20, 20), 3), ((255, 255, 255), 1)):
        cv2.rectangle(drawn, (box.left, box.top), (box.right - 1, box.bottom - 1), colour, width)
    return drawn

"""Drawing of the panels of an explained episode."""
from typing import Any, Sequence

import cv2
import numpy as np

from mmfss.visualization.attribution_panel import fit, fit_labels
from mmfss.visualization.decomposition import TILE, draw_decomposition
from mmfss.visualization.heatmap import draw_outline, overlay_heat
from mmfss.visualization.overlay import overlay_mask
from mmfss.visualization.prototype_pictures import cell_box
from ..run_folder import Arrays, Record
from .prototypes import SIDE_NAMES

_BACKGROUND_ROWS = 2


def draw_episode_prototypes(query: np.ndarray, supports: Sequence[Sequence[np.ndarray]], record: Record,
                            arrays: Arrays) -> dict[str, np.ndarray]:
    """Draw the prototype decomposition of an episode.

    Args:
        query (np.ndarray): (h, w, 3), uint8 RGB.
        supports (Sequence[Sequence[np.ndarray]]): N lists of K images, each (H, W, 3) uint8 RGB.
        record (dict): The episode's record, with ``prototypes``.
        arrays (dict): Its arrays.

    Returns:
        dict[str, np.ndarray]: A panel of each class by file name.
    """
    panels = {}
    for way, decomposition in enumerate(record['prototypes']):
        region = arrays['region'][way].astype(bool)
        # the query and its supports
        labels = fit_labels(arrays['prediction'], query)
        overview = [('query', query), ('prediction', draw_outline(overlay_mask(query, labels), region))]
        for shot, (image, mask) in enumerate(zip(supports[way], arrays['support_masks'][way])):
            labels = fit_labels(mask * (way + 1), image)
            overview.append((f'support {shot + 1}', overlay_mask(image, labels, alpha=0.3)))

        def source(entry: Record, images: Sequence[np.ndarray] = supports[way]) -> tuple[np.ndarray, str]:
            place = entry['source']
            made_of = arrays['prototypes/assignments'][place['assignment']]
            return source_picture(images[place['shot']], made_of, place), f'made of support {place["shot"] + 1}'

        decoder = next(term['contribution'] for term in decomposition['terms'] if term['name'] == 'decoder')
        panels[f'panel_prototypes_{way + 1}.png'] = draw_decomposition(
            dict(decomposition, groups=_shown(decomposition['groups'])), overview, query, region,
            arrays['prototypes/maps'], arrays['prototypes/choices'], source, [decomposition],
            f'of it the decoder {decoder:+.2f}')
    return panels


def _shown(groups: Sequence[Record]) -> list[Record]:
    """Select all groups of the object, and the largest ones of the background."""
    background = [group for group in groups if group['side'] == SIDE_NAMES[1]]
    return [group for group in groups if group['side'] == SIDE_NAMES[0]] + background[:_BACKGROUND_ROWS]


def source_picture(image: np.ndarray, assignment: np.ndarray, source: dict[str, Any]) -> np.ndarray:
    """Draw a support with the cells of a prototype, and a frame around the cell that represents it.

    Args:
        image (np.ndarray): (H, W, 3), uint8 RGB.
        assignment (np.ndarray): Weights of its cells, 0 to 1, (h', w').
        source (dict): ``row``, ``column`` and ``grid`` of the cell.

    Returns:
        np.ndarray: uint8 RGB, the longer side as that of a panel's tiles.
    """
    picture = fit(image, TILE)
    box = cell_box(source['row'], source['column'], source['grid'], picture.shape[:2])
    drawn = np.ascontiguousarray(overlay_heat(picture, assignment.astype(np.float32), alpha=0.6))
    for colour, width in (((20, 20, 20), 3), ((255, 255, 255), 1)):
        cv2.rectangle(drawn, (box.left, box.top), (box.right - 1, box.bottom - 1), colour, width)
    return drawn

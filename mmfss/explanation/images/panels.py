"""Drawing of the panels of explained images from their records."""
import re
from pathlib import Path
from typing import Mapping, Optional, Sequence

import numpy as np

from mmfss.prototypes.sources import PrototypeSources
from mmfss.visualization.attribution_panel import fit_labels
from mmfss.visualization.decomposition import draw_decomposition
from mmfss.visualization.heatmap import draw_outline
from mmfss.visualization.overlay import overlay_mask
from ..run_folder import Arrays, Record


def draw_image(image: np.ndarray, record: Record, arrays: Arrays, region: str, classes: Sequence[str],
               sources: Optional[PrototypeSources] = None) -> dict[str, np.ndarray]:
    """Draw the panels of an explained image.

    Args:
        image (np.ndarray): (H, W, 3), uint8 RGB.
        record (dict): Its record, see :class:`PrototypeExplanationLoop`.
        arrays (dict): Its arrays.
        region (str): What was explained.
        classes (Sequence[str]): Names of all classes.
        sources (PrototypeSources, optional): Patches of the prototypes.

    Returns:
        dict[str, np.ndarray]: Panels by file name: one of each explained class, two of each failure.
    """
    pictures = {'image': image}
    for name in ('target', 'prediction'):
        if name in arrays:
            labels = fit_labels(shown_labels(arrays[name], classes), image)
            pictures['truth' if name == 'target' else name] = overlay_mask(image, labels)
    # One panel for each explained class
    panels = {}
    for tree in record['classes']:
        pixels = region_pixels(region, tree['class_id'], arrays)
        panels[panel_name(tree)] = _panel(pictures, tree, [tree], pixels, arrays, sources)
    # Two panels for each failure: the true class and the predicted one
    for failure in record['failures']:
        wrong = (arrays['target'] == failure['truth']) & (arrays['prediction'] == failure['predicted'])
        for tree, role in zip(failure['explained'], ('truth', 'predicted')):
            name = panel_name(tree, f'panel_failure_{failure["class_id"]:02d}_{role}')
            panels[name] = _panel(pictures, tree, failure['explained'], wrong, arrays, sources)
    return panels


def panel_name(tree: Record, prefix: str = 'panel') -> str:
    """Return the file name of the panel of a class, e.g. ``panel_03_wooden-wavy.png``."""
    return f'{prefix}_{tree["class_id"]:02d}_{re.sub(r"[^0-9A-Za-z.-]+", "-", tree["class_name"])}.png'


def region_pixels(region: str, class_id: int, arrays: Arrays) -> np.ndarray:
    """Select the explained pixels of a class, bool, (H, W)."""
    if region == 'all':
        return np.ones(arrays['prediction'].shape, bool)
    return arrays['prediction' if region == 'prediction' else 'target'] == class_id


def shown_labels(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Convert labels for :func:`overlay_mask`: a first class called background stays untinted, void is 255."""
    shown = labels.astype(int) + first_colour(classes)
    return np.where(labels < 0, 255, np.where(shown > 254, shown % 254 + 1, shown)).astype(np.uint8)


def first_colour(classes: Sequence[str]) -> int:
    """Return the colour number of class 0: 0 (none) if it is the background."""
    return int(classes[0].lower() != 'background')


def _panel(pictures: Mapping[str, np.ndarray], tree: Record, together: Sequence[Record], pixels: np.ndarray,
           arrays: Arrays, sources: Optional[PrototypeSources]) -> np.ndarray:
    """Draw the panel of one class; its maps share one scale with those of the classes ``together``."""
    outlined = draw_outline(pictures['prediction'], pixels)
    overview = [(name, outlined if name == 'prediction' else picture) for name, picture in pictures.items()]
    against = sum(term['contribution'] for term in tree['terms'])
    return draw_decomposition(tree, overview, pictures['image'], pixels, arrays['maps'], arrays['choices'],
                              lambda entry: _source(entry, sources), together, f'of it other classes {against:+.2f}')


def _source(entry: Record, sources: Optional[PrototypeSources]) -> tuple[Optional[np.ndarray], str]:
    """Return picture and caption of a prototype's source."""
    if sources is None:
        return None, ''
    return patch_of(sources, entry['index']), f'from {Path(entry["source"]["image"] or "an unknown image").name}'


def patch_of(sources: PrototypeSources, prototype: int) -> Optional[np.ndarray]:
    """Return the patch of a prototype, or None if picture and image are missing."""
    try:
        return sources.patch(prototype)
    except FileNotFoundError:
        return None

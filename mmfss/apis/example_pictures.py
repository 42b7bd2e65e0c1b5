"""Example pictures with masks, for a first try: drawn shapes, and a photograph of free licence."""
from dataclasses import dataclass, field
from typing import Optional

import cv2
import numpy as np

from mmfss.datasets.shapes import SHAPES_CLASSES
from mmfss.datasets.shapes.files import ShapesSpec
from mmfss.datasets.shapes.scene import render

# Scenes of the validation part that show this class: the query, then the supports.
_SHAPE, _SCENES, _SIDE = 'tiled flower', (7, 8, 25, 30), 256


@dataclass(frozen=True)
class SegmentationTask:
    """Hold a query and annotated supports, as pictures in RGB.

    Attributes:
        query (np.ndarray): (H, W, 3) uint8 RGB.
        support (dict[str, list[tuple[np.ndarray, np.ndarray]]]): By class pairs of picture (H', W', 3) and mask
            (H', W'), 1 the object.
        target (np.ndarray, optional): The truth, labels 0..N or 255 for ignored, (H, W).
        candidates (dict[str, list[tuple[np.ndarray, np.ndarray]]]): Annotated pictures that are not among the supports.
        source (str): Where the pictures come from.
    """
    query: np.ndarray
    support: dict[str, list[tuple[np.ndarray, np.ndarray]]]
    target: Optional[np.ndarray] = None
    candidates: dict[str, list[tuple[np.ndarray, np.ndarray]]] = field(default_factory=dict)
    source: str = ''


def shapes_task(shots: int = 3) -> SegmentationTask:
    """Draw an example of the shapes dataset; takes less than a second.

    Args:
        shots (int): Number of supports, 1 to 3.

    Example:
        >>> from mmfss.apis.example_pictures import shapes_task
        >>> task = shapes_task(shots=1)
        >>> task.query.shape, list(task.support)
        ((256, 256, 3), ['tiled flower'])
    """
    class_id = SHAPES_CLASSES.index(_SHAPE)
    pairs = []
    for number in _SCENES[:shots + 1]:
        scene = render(np.random.RandomState([ShapesSpec().seed, 1, number]), _SIDE)
        pairs.append((scene.image, scene.masks[scene.class_ids.index(class_id)].astype(np.uint8)))
    (query, target), *support = pairs
    return SegmentationTask(query, {_SHAPE: support}, target, source='drawn, of the shapes dataset')


def coins_task() -> SegmentationTask:
    """Cut a photograph of Greek coins into supports and a query.

    The photograph comes with scikit-image (Brooklyn Museum, no known copyright restrictions). Its masks are made by a
    threshold, so that they are approximate.

    Raises:
        ImportError: If scikit-image is missing.
    """
    try:
        from skimage.data import coins
    except ImportError as error:
        raise ImportError('The photograph of coins comes with scikit-image, which is not installed: pip install '
                          '"mmfss[explain]"') from error
    grey = coins()
    mask = _coin_mask(grey)
    picture = np.repeat(grey[..., None], 3, axis=2)
    height, width = grey.shape
    parts = [(slice(0, height // 2), slice(0, width // 2)), (slice(0, height // 2), slice(width // 2, width)),
             (slice(height // 2, height), slice(0, width))]
    first, second, rest = ((picture[part], mask[part]) for part in parts)
    return SegmentationTask(rest[0], {'coin': [first, second]}, rest[1],
                            source='photograph of the Brooklyn Museum, with scikit-image; masks by a threshold')


def _coin_mask(grey: np.ndarray) -> np.ndarray:
    """Separate light coins from the dark ground, whose brightness changes over the picture."""
    ground = cv2.GaussianBlur(cv2.erode(grey, np.ones((45, 45), np.uint8)), (0, 0), 20).astype(np.int16)
    light = np.clip(grey.astype(np.int16) - ground, 0, 255).astype(np.uint8)
    _, mask = cv2.threshold(cv2.GaussianBlur(light, (0, 0), 1.5), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    mask = cv2.morphologyEx(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc), cv2.MORPH_OPEN, disc)
    # Coins have no holes
    lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(mask), lines, -1, 1, -1)

"""Maps of prototypes and groups as data of a web page."""
import base64
import io
from typing import Any, Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from ..overlay import class_palette
from ..prototype_panel import scale_jointly, shown_maps
from .pictures import MAP_SIDE, encode_map


def encode_maps(maps: np.ndarray) -> list[str]:
    """Maps (n, h, w) of any range as grey pictures, by one scale for all."""
    return [_encode(heat) for heat in scale_jointly(maps)]


def highest(maps: np.ndarray, trees: Sequence[Mapping[str, Any]]) -> float:
    """The largest display value of all maps that some classes show, above 0 and at most 1."""
    shown = shown_maps(trees)
    return max(float(scale_jointly(maps)[shown].max()) if shown else 1., 1 / 255)


def _encode(heat: np.ndarray) -> str:
    # Small ones are enlarged first: a browser's own enlargement of a few pixels shows their edges.
    factor = MAP_SIDE // (2 * max(heat.shape))
    if factor > 1:
        size = heat.shape[1] * factor, heat.shape[0] * factor
        heat = cv2.resize(heat, size, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return encode_map(heat)


def choice_uri(choice: np.ndarray, region: np.ndarray, view: Sequence[int]) -> str:
    """What was chosen at each pixel of a region, as a picture that is transparent elsewhere.

    Args:
        choice (np.ndarray): Numbers from 0 on any grid, shape (h, w).
        region (np.ndarray): Bool, of any size.
        view (Sequence[int]): Width and height of the picture.

    Returns:
        str: A data URI; number n has the colour of :func:`colour_of`.
    """
    large, inside = (cv2.resize(np.asarray(x).astype(np.float32), tuple(view), interpolation=cv2.INTER_NEAREST_EXACT)
                     for x in (choice, region))
    numbers = np.where(inside > 0.5, large.astype(int) % 255 + 1, 0).astype(np.uint8)
    picture = Image.fromarray(numbers)
    picture.putpalette(class_palette(255).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, 'png', transparency=0, optimize=True)
    return f'data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}'


def colour_of(number: int) -> str:
    """CSS colour of the n-th group or prototype of a class, n from 0."""
    return 'rgb({},{},{})'.format(*class_palette(number + 1)[-1])

"""Heat maps on images. Images are (H, W, 3) uint8 RGB arrays; nothing is changed in place."""
from functools import lru_cache
from typing import Optional

import cv2
import matplotlib
import numpy as np

# Ordered by lightness, so that more looks like more, also in print and to colour-blind readers.
SEQUENTIAL = 'inferno'
# Blue speaks against the region, red for it.
DIVERGING = 'RdBu_r'


@lru_cache(maxsize=2)
def heat_colours(signed: bool = False) -> np.ndarray:
    """Return the colours of the display values 0/255 to 255/255.

    Args:
        signed (bool): The diverging scale, transparent at its middle, rather than the sequential one.

    Returns:
        np.ndarray: Shape (256, 4), uint8: RGB and opacity.
    """
    values = np.linspace(0, 1, 256)
    colours = matplotlib.colormaps[DIVERGING if signed else SEQUENTIAL](values)
    if signed:
        colours[:, 3] = np.abs(2 * values - 1)**0.6
    colours = (255 * colours).round().astype(np.uint8)
    colours.setflags(write=False)
    return colours


def scale_heat(maps: np.ndarray, neutral: Optional[float] = None, clip: float = 0.005) -> np.ndarray:
    """Scale the attributions of one class for display; all shots share one scale, so they are comparable.

    Args:
        maps (np.ndarray): Attributions of any range and shape, all of one class.
        neutral (float, optional): Value that means no contribution. It goes to 0.5, and the value farthest from it to 0
            or 1. Without it the smallest value goes to 0 and the largest to 1.
        clip (float): Share of the values, the most extreme ones, that are drawn like the next: gradients have a few
            huge values beside which all others would look alike.

    Returns:
        np.ndarray: Float32 of the same shape in [0, 1]. Values that are not finite, and equal values, become 0; with a
        neutral value, 0.5.
    """
    maps = np.asarray(maps, dtype=np.float32)
    finite = np.isfinite(maps)
    if not finite.any():
        return np.full(maps.shape, 0. if neutral is None else 0.5, dtype=np.float32)
    if neutral is None:
        low = maps[finite].min()
        span = _high(maps[finite] - low, clip)
    else:
        span = 2 * _high(np.abs(maps[finite] - neutral), clip)
        low = neutral - span / 2
    filled = np.where(finite, maps, low if neutral is None else neutral)
    return np.asarray((filled - low) / span).clip(0, 1).astype(np.float32)


def _high(distances: np.ndarray, clip: float) -> float:
    """Return the largest distance, or the distance that the share ``clip`` exceeds; never zero."""
    return float(np.quantile(distances, 1 - clip) or distances.max() or 1.)


def overlay_heat(image: np.ndarray, heat: np.ndarray, signed: bool = False, alpha: float = 0.7) -> np.ndarray:
    """Overlay a heat map on the image's grey values.

    Args:
        image (np.ndarray): Shape (H, W, 3), uint8 RGB.
        heat (np.ndarray): Display values in [0, 1] (:func:`scale_heat`); resized to the image's size (bilinear).
        signed (bool): Whether 0.5 is no contribution: it is drawn transparent.
        alpha (float): Opacity of the map, 0 (none) to 1 (opaque).

    Returns:
        np.ndarray: A new image, shape (H, W, 3), uint8 RGB.
    """
    height, width = image.shape[:2]
    heat = cv2.resize(np.asarray(heat, dtype=np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    colours = heat_colours(signed)[(255 * heat.clip(0, 1)).round().astype(np.uint8)]
    opacity = alpha * colours[..., 3:] / 255
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)[..., None]
    return ((1 - opacity) * grey + opacity * colours[..., :3]).round().astype(np.uint8)


def draw_outline(image: np.ndarray,
                 mask: np.ndarray,
                 colour: tuple[int, int, int] = (255, 255, 255),
                 width: float = 1.75) -> np.ndarray:
    """Draw the outline of a mask, smooth and with a dark rim, so that it is seen on any ground.

    Args:
        image (np.ndarray): Shape (H, W, 3), uint8 RGB.
        mask (np.ndarray): Boolean or 0/1, of any size; stretched over the image.
        colour (tuple[int, int, int]): RGB.
        width (float): Width of the line in pixels of a picture of up to 512; the rim adds one on either side. In a
            larger picture, which is shown reduced, both are wider in proportion.

    Returns:
        np.ndarray: A new image, shape (H, W, 3), uint8 RGB.
    """
    height, side = image.shape[:2]
    scale = max(1., max(height, side) / 512)
    # Drawn up to four times as large, for lines of broken width and smooth edges.
    factor = max(1, round(4 / scale))
    size = factor * side, factor * height
    large = cv2.resize(np.asarray(mask, dtype=np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
    lines, _ = cv2.findContours(large.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn = image.astype(np.float32)
    for thickness, shade in ((width + 2, (20, 20, 20)), (width, colour)):
        canvas = np.zeros(large.shape, dtype=np.float32)
        cv2.drawContours(canvas, lines, -1, 1., round(factor * scale * thickness))
        opacity = cv2.resize(canvas, (side, height), interpolation=cv2.INTER_AREA)[..., None]
        drawn = (1 - opacity) * drawn + opacity * np.float32(shade)
    return drawn.round().astype(np.uint8)


def colour_bar(width: int, height: int, signed: bool = False) -> np.ndarray:
    """Draw a bar of the colours from low (left) to high (right), (height, width, 3), uint8 RGB, on white."""
    colours = heat_colours(signed)[np.linspace(0, 255, width).round().astype(int)].astype(float)
    opacity = colours[:, 3:] / 255
    return np.repeat((opacity * colours[:, :3] + (1 - opacity) * 255).round().astype(np.uint8)[None], height, axis=0)

"""Boxes and pictures of a prototype in its source image."""
from typing import NamedTuple, Sequence

import cv2
import numpy as np
from numpy import ndarray


class Box(NamedTuple):
    """Describe rows ``top`` to ``bottom - 1`` and columns ``left`` to ``right - 1`` of an image."""
    top: int
    bottom: int
    left: int
    right: int

    def crop(self, image: ndarray) -> ndarray:
        """Crop an image (H, W, ...)."""
        return image[self.top:self.bottom, self.left:self.right]


def cell_box(row: int, col: int, grid: Sequence[int], image: Sequence[int]) -> Box:
    """Return the pixels of a cell of the feature grid.

    This is the method's "receptive field": one stride, not the true receptive field of the cell.

    Args:
        row (int): Row of the cell.
        col (int): Its column.
        grid (Sequence[int]): (h, w).
        image (Sequence[int]): (H, W).

    Returns:
        Box: As published with one line more at the bottom and on the right, at the border one past the image.
    """
    high, wide = image[0] / grid[0], image[1] / grid[1]
    return Box(int(row * high), int(row * high + high) + 1, int(col * wide), int(col * wide + wide) + 1)


def upsample(activation: ndarray, size: Sequence[int]) -> ndarray:
    """Enlarge a map (h, w) to (H, W), bicubically."""
    return cv2.resize(np.ascontiguousarray(activation, np.float32), (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


def activation_box(activation: ndarray, start: Box, threshold: float, margin: int = 5) -> Box:
    """Grow a box while the line next to it is activated somewhere.

    One row or column at a time is added at the top, at the bottom, on the left, on the right, and again; a side where
    the next line, within the present span, holds no value of the threshold or more is done. Then a margin is added.
    As published, the first line below and to the right of the starting box belongs to it.

    Args:
        activation (ndarray): Map at the size of the image, shape (H, W).
        start (Box): Where to begin.
        threshold (float): Smallest value that counts.
        margin (int): Pixels to add on every side, within the image.
    """
    high, wide = activation.shape
    top, left = start.top, start.left
    last_row, last_col = min(start.bottom, high - 1), min(start.right, wide - 1)
    growing = [True] * 4

    def activated(line: ndarray) -> bool:
        return bool(line.max() >= threshold)

    # Up, down, left, right
    while any(growing):
        growing[0] = growing[0] and top > 0 and activated(activation[top - 1, left:last_col + 1])
        top -= growing[0]
        growing[1] = growing[1] and last_row + 1 < high and activated(activation[last_row + 1, left:last_col + 1])
        last_row += growing[1]
        growing[2] = growing[2] and left > 0 and activated(activation[top:last_row + 1, left - 1])
        left -= growing[2]
        growing[3] = growing[3] and last_col + 1 < wide and activated(activation[top:last_row + 1, last_col + 1])
        last_col += growing[3]
    return Box(max(0, top - margin), min(high, last_row + margin + 1), max(0, left - margin),
               min(wide, last_col + margin + 1))


def prototype_boxes(activation: ndarray, mask: ndarray, row: int, col: int,
                    percentile: float = 95) -> tuple[Box, Box, Box]:
    """Find the boxes of a prototype in its source image.

    Args:
        activation (ndarray): Its similarity on the feature grid, shape (h, w).
        mask (ndarray): Where the image shows its class, shape (H, W), bool.
        row (int): Row of its source cell.
        col (int): Its column.
        percentile (float): What counts as activated.

    Returns:
        tuple[Box, Box, Box]: Its cell; where it is activated as strongly as the top of the image; where it is activated
        as strongly as the top of the class.
    """
    large = upsample(activation, mask.shape)
    cell = cell_box(row, col, activation.shape, mask.shape)
    masked = np.where(mask, large, 0)
    of_image = float(np.percentile(large, percentile))
    of_class = float(np.percentile(large[mask], percentile)) if mask.any() else of_image
    return cell, activation_box(masked, cell, of_image), activation_box(masked, cell, of_class)


def heat_overlay(image: ndarray, activation: ndarray) -> ndarray:
    """Mix an image with the colours of a map scaled to [0, 1]: half the image, 0.3 of the colours.

    Args:
        image (ndarray): (H, W, 3), uint8 RGB.
        activation (ndarray): Map on any grid, shape (h, w).

    Returns:
        ndarray: (H, W, 3), uint8 RGB.
    """
    large = upsample(activation, image.shape[:2])
    large = (large - large.min()) / max(float(large.max() - large.min()), 1e-12)
    colours = cv2.applyColorMap(np.uint8(255 * large), cv2.COLORMAP_JET)[..., ::-1]
    return (0.5 * image + 0.3 * colours).round().astype(np.uint8)


def draw_boxes(image: ndarray, cell: Box, activated: Box) -> ndarray:
    """Draw the box of a cell in white and an activation box in yellow."""
    out = np.ascontiguousarray(image).copy()
    thickness = max(1, round(max(image.shape) / 400))
    for box, colour in ((activated, (255, 220, 0)), (cell, (255, 255, 255))):
        cv2.rectangle(out, (box.left, box.top), (box.right - 1, box.bottom - 1), colour, thickness)
    return out

"""Masks from what a user draws on a picture: strokes, polygons, a box, or points."""
from typing import TYPE_CHECKING, Any, Optional, Sequence

import cv2
import numpy as np

if TYPE_CHECKING:
    from mmfss.models.backbones import SegmentAnything

Box = tuple[int, int, int, int]
Point = tuple[int, int]

_ROUNDS = 5


def drawn_pixels(drawing: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Map a drawing to the pixels of a picture.

    Args:
        drawing (np.ndarray): What was drawn, on transparent ground, of any size, (h, w, 4) uint8 RGBA.
        size (tuple[int, int]): (H, W) of the picture over which it was drawn.

    Returns:
        np.ndarray: Boolean, (H, W).
    """
    opacity = np.asarray(drawing)[..., 3].astype(np.float32) / 255
    smaller = drawing.shape[0] > size[0]
    return cv2.resize(opacity, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR) >= 0.25


def drawn_box(pixels: np.ndarray) -> Optional[Box]:
    """Return the bounding box (left, top, right, bottom) of drawn pixels (H, W), the last two excluded, or None."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def drawn_points(pixels: np.ndarray) -> list[Point]:
    """Return the centres (x, y) of separate dots among drawn pixels (H, W)."""
    _, _, _, centres = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    return [(round(x), round(y)) for x, y in centres[1:].tolist()]


def mask_in_box(picture: np.ndarray, box: Box, sam: 'Optional[SegmentAnything]' = None) -> np.ndarray:
    """Guess the object in a box, by SAM or by its colours (GrabCut, Rother et al., SIGGRAPH 2004): approximate.

    Args:
        picture (np.ndarray): (H, W, 3) uint8 RGB.
        box (tuple[int, int, int, int]): Left, top, right, bottom; the last two excluded.
        sam (SegmentAnything, optional): By default the colours tell.

    Returns:
        np.ndarray: Boolean, (H, W); the whole box if nothing is found in it.

    Raises:
        ValueError: If the box has no pixel in the picture.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = (int(value) for value in box)
    left, top, right, bottom = max(0, left), max(0, top), min(width, right), min(height, bottom)
    if right <= left or bottom <= top:
        raise ValueError(f'The box {tuple(box)} has no pixel in the picture of {width} x {height} pixels: left must be '
                         'smaller than right, and top smaller than bottom.')
    inside = np.zeros((height, width), dtype=bool)
    inside[top:bottom, left:right] = True
    if inside.all():
        return inside
    if sam is not None:
        mask = _sam_mask(sam, picture, box=(left, top, right, bottom))
        return mask if mask.any() else inside
    seeds = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    mask = _grab_cut(picture, seeds) & inside
    return mask if mask.any() else inside


def mask_at_points(picture: np.ndarray, points: Sequence[Point], background: Sequence[Point] = (),
                   sam: 'Optional[SegmentAnything]' = None) -> np.ndarray:
    """Guess the object at points, by SAM or by its colours (GrabCut): approximate.

    Args:
        picture (np.ndarray): (H, W, 3) uint8 RGB.
        points (Sequence[tuple[int, int]]): Points (x, y) on the object, one or more.
        background (Sequence[tuple[int, int]]): Points that are not on it.
        sam (SegmentAnything, optional): By default the colours tell.

    Returns:
        np.ndarray: Boolean, (H, W), with the surroundings of the points; parts without a point are left out.

    Raises:
        ValueError: If there is no point on the object, or a point lies outside of the picture.
    """
    height, width = picture.shape[:2]
    if not points:
        raise ValueError('Give one point on the object or more.')
    for x, y in (*points, *background):
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f'The point ({x}, {y}) lies outside of the picture of {width} x {height} pixels.')
    if sam is not None:
        return _sam_mask(sam, picture, points=points, background=background)
    side = min(height, width)
    seeds = np.full((height, width), cv2.GC_PR_BGD, dtype=np.uint8)
    for radius, label, centres in ((side // 5, cv2.GC_PR_FGD, points), (max(1, side // 60), cv2.GC_FGD, points),
                                   (max(1, side // 60), cv2.GC_BGD, background)):
        for point in centres:
            cv2.circle(seeds, tuple(int(value) for value in point), radius, int(label), -1)
    mask = _grab_cut(picture, seeds)
    _, numbers = cv2.connectedComponents(mask.astype(np.uint8))
    kept = {numbers[y, x] for x, y in points} - {0}
    return np.isin(numbers, list(kept)) if kept else seeds == cv2.GC_FGD


def _sam_mask(sam: 'SegmentAnything', picture: np.ndarray, **prompts: Any) -> np.ndarray:
    """Return the mask (H, W) that SAM gives for a box or points."""
    import torch

    with torch.no_grad():
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).to(sam.mean.device).permute(2, 0, 1).float()
        embedding = sam.embed(((pixels - sam.mean) / sam.std)[None])
        return sam.segment(embedding, picture.shape[:2], **prompts).cpu().numpy()


def _grab_cut(picture: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Separate object and background from seeds (H, W); on a reduced picture, which takes less than a second."""
    height, width = seeds.shape
    scale = min(1., 400 / max(height, width))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    labels = cv2.resize(seeds, size, interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
    if not np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).any() or not np.isin(
            labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
        return np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD))
    cv2.setRNGSeed(0)
    cv2.grabCut(small, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    return cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) >= 0.5

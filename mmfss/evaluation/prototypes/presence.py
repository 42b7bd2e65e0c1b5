"""Presence of prototypes on object parts (interpretability metrics of ScaleProtoSeg, section 9)."""
from typing import Optional

import cv2
import numpy as np
from numpy import ndarray

QUANTILE_SCOPES = ('class', 'image')


def part_centres(parts: ndarray, background: bool = False) -> dict[int, ndarray]:
    """Find the centres of the connected pieces of every part.

    Args:
        parts (ndarray): Part ids, 0 or less for none, shape (H, W).
        background (bool): Count the centre of everything outside a part among its centres, as the published code does.

    Returns:
        dict[int, ndarray]: Of each part id that occurs the (row, column) of its 8-connected pieces' centroids, rounded,
        shape (n, 2), int64.
    """
    centres = {}
    for part in np.unique(parts[parts > 0]).tolist():
        _, _, _, centroids = cv2.connectedComponentsWithStats((parts == part).astype(np.uint8), connectivity=8)
        centroids = centroids if background else centroids[1:]
        # A part that fills the image leaves no background, whose centroid is not a number then.
        centroids = centroids[np.isfinite(centroids).all(1)]
        centres[part] = np.round(centroids).astype(np.int64)[:, ::-1]
    return centres


def nearest_cells(size: tuple[int, int], grid: tuple[int, int]) -> tuple[ndarray, ndarray]:
    """Map pixels to rows and columns of the grid, as nearest-neighbour enlargement does (OpenCV's rule).

    Args:
        size (tuple[int, int]): (H, W).
        grid (tuple[int, int]): (h, w).

    Returns:
        tuple[ndarray, ndarray]: Shapes (H,) and (W,).
    """
    # In OpenCV's order of operations: multiplying by cells / n rounds otherwise where two cells meet.
    return tuple(np.minimum((np.arange(n) * (1 / (n / cells))).astype(np.int64), cells - 1)
                 for n, cells in zip(size, grid))


def masked_quantile(values: ndarray, counts: ndarray, quantile: float, num_zeros: int = 0) -> ndarray:
    """Compute quantiles of maps in which the i-th value occurs counts[i] times, with linear interpolation.

    The enlarged map is never made: it holds only the values of the grid.

    Args:
        values (ndarray): Positive values of P maps at n cells, shape (P, n).
        counts (ndarray): Pixels that have the value of a cell, 1 or more, shape (n,), int64.
        quantile (float): In [0, 1].
        num_zeros (int): Zeros that are in the map beside.

    Returns:
        ndarray: Shape (P,), float64.
    """
    # Ranks of the values, with the zeros first
    order = np.argsort(values, axis=1)
    ranked = np.take_along_axis(values, order, 1).astype(np.float64)
    ends = np.cumsum(counts[order], axis=1) + num_zeros
    position = quantile * (ends[:, -1:] - 1)
    low = np.floor(position)

    def at(rank: ndarray) -> ndarray:
        place = (ends <= rank).sum(1, keepdims=True)
        value = np.take_along_axis(ranked, np.minimum(place, values.shape[1] - 1), 1)
        return np.where(rank < num_zeros, 0., value)

    # Interpolate between the two neighbors as NumPy does
    first, second = at(low), at(np.minimum(low + 1, ends[:, -1:] - 1))
    fraction = position - low
    upper = second - (second - first) * (1 - fraction)
    return np.where(fraction < 0.5, first + (second - first) * fraction, upper)[:, 0]


def part_presence(similarities: ndarray,
                  labels: ndarray,
                  parts: ndarray,
                  class_id: int,
                  max_parts: int,
                  quantile: float = 0.8,
                  scope: str = 'class',
                  background: bool = False) -> Optional[ndarray]:
    """Determine on which parts of its class each prototype is activated.

    A prototype is activated at the pixels of its class whose value exceeds the quantile of its map, enlarged by nearest
    neighbours and zero outside the class. It is on a part if it is activated at the centre of one of its pieces.

    Args:
        similarities (ndarray): Maps of the class's prototypes, positive, shape (P, h, w).
        labels (ndarray): Class of each pixel, shape (H, W).
        parts (ndarray): Part of each pixel, 0 or less for none, shape (H, W).
        class_id (int): The class.
        max_parts (int): Largest part id.
        quantile (float): In [0, 1].
        scope (str): Take the quantile over the ``'class'``, or over the whole ``'image'``: then a class that fills less
            than ``1 - quantile`` of the image has threshold 0 and is activated everywhere.
        background (bool): See :func:`part_centres`.

    Returns:
        ndarray, optional: 1 on a part, 0 off it, NaN where the image shows no such part, shape (P, max_parts + 1),
        float32; entry 0 is NaN. None if the image shows no part of the class.

    Raises:
        ValueError: If a part id exceeds ``max_parts``.
    """
    mask = labels == class_id
    centres = part_centres(np.where(mask, parts, 0), background)
    if not centres:
        return None
    if max(centres) > max_parts:
        raise ValueError(f'A part has the id {max(centres)}, but max_parts is {max_parts}.')
    rows, cols = nearest_cells(labels.shape, similarities.shape[1:])
    width = similarities.shape[2]
    # Thresholds from the quantile over the pixels of the scope
    counts = np.bincount((rows[:, None] * width + cols)[mask], minlength=similarities[0].size)
    shown = counts.nonzero()[0]
    num_zeros = int(mask.size - mask.sum()) if scope == 'image' else 0
    flat = similarities.reshape(len(similarities), -1)
    thresholds = masked_quantile(flat[:, shown], counts[shown], quantile, num_zeros)
    # Compare at the centres of each part
    presence = np.full((len(similarities), max_parts + 1), np.nan, np.float32)
    for part, points in centres.items():
        values = flat[:, rows[points[:, 0]] * width + cols[points[:, 1]]] * mask[points[:, 0], points[:, 1]]
        presence[:, part] = (values > thresholds[:, None]).any(1)
    return presence

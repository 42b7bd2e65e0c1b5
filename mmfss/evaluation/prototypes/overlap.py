"""Overlap of the activations of a class's groups or prototypes."""
from itertools import combinations
from typing import Sequence

import cv2
import numpy as np
from numpy import ndarray


def activated(maps: ndarray, size: Sequence[int], quantile: float) -> ndarray:
    """Select the pixels where a map, enlarged bicubically, exceeds its own quantile over the image.

    Args:
        maps (ndarray): Shape (K, h, w).
        size (Sequence[int]): (H, W).
        quantile (float): In [0, 1].

    Returns:
        ndarray: Shape (K, H, W), bool.
    """
    large = [cv2.resize(np.ascontiguousarray(m, np.float32), (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
             for m in maps]
    return np.stack([m > np.quantile(m, quantile) for m in large])


def pairwise_overlap(masks: ndarray) -> tuple[int, int]:
    """Count the pixels of intersection and union, summed over all pairs of masks.

    Args:
        masks (ndarray): Shape (K, H, W), bool.
    """
    pairs = list(combinations(range(len(masks)), 2))
    intersection = sum(int(np.count_nonzero(masks[i] & masks[j])) for i, j in pairs)
    # Each mask is in the union with each other one.
    return intersection, (len(masks) - 1) * int(np.count_nonzero(masks)) - intersection

"""Input of prototype metrics."""
from dataclasses import dataclass
from typing import Optional

import numpy as np
from numpy import ndarray


@dataclass
class PrototypeSample:
    """Hold the labels and parts of one image, and its similarities to prototypes and groups.

    Letters: P prototypes, G groups, image (H, W), feature grid (h, w).

    Attributes:
        index (int): Place in the dataset.
        labels (ndarray): Class of each pixel, -1 for void, shape (H, W).
        parts (ndarray, optional): Part of each pixel, 0 or less for none, shape (H, W); None where there is no
            annotation of parts.
        similarities (ndarray): Similarity to each prototype, shape (P, h, w).
        noisy (ndarray, optional): The same for the image with noise.
        groups (ndarray, optional): Activations of the groups, shape (G, h, w); None for a model of stage 1.
        proto_class (ndarray): Class of each prototype, shape (P,).
        used (ndarray): Whether a prototype has a weight in some group; all have in stage 1; shape (P,), bool.
        group_class (ndarray, optional): Class of each group, shape (G,).
    """
    index: int
    labels: ndarray
    parts: Optional[ndarray]
    similarities: ndarray
    noisy: Optional[ndarray]
    groups: Optional[ndarray]
    proto_class: ndarray
    used: ndarray
    group_class: Optional[ndarray]

    def classes(self) -> list[int]:
        """Classes that the image shows, ascending."""
        return [class_id for class_id in np.unique(self.labels).tolist() if class_id >= 0]

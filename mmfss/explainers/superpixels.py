"""Superpixels of support images."""
import numpy as np
import torch
from torch import Tensor

from .extras import import_extra


def segment(images: Tensor, n_segments: int, compactness: float, shared: bool = False) -> Tensor:
    """Cut every image into superpixels by SLIC.

    Args:
        images (Tensor): Normalized images, shape (K, 3, H, W).
        n_segments (int): Superpixels wanted of each; SLIC finds about as many.
        compactness (float): Weight of distance against colour.
        shared (bool): Count superpixels from 0 in every image, so that the third of one image and the third of another
            have the same number. Defaults to False: all have their own.

    Returns:
        Tensor: Numbers from 0, int64, shape (K, H, W).
    """
    slic = import_extra('skimage.segmentation').slic
    labels, first = [], 0
    for image in images.detach().cpu().double().permute(0, 2, 3, 1).numpy():
        _, label = np.unique(slic(image, n_segments, compactness, start_label=0, channel_axis=-1), return_inverse=True)
        label = label.reshape(image.shape[:2])
        labels.append(label + first)
        first = 0 if shared else first + label.max() + 1
    return torch.from_numpy(np.stack(labels)).long().to(images.device)

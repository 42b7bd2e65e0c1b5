"""Deletion and insertion of an image's pixels, in the order of a map: what does the logit of a class depend on?"""
from typing import Callable

import torch
from torch import Tensor

SUBSTRATES = ('mean', 'blur')


def substrate_of(image: Tensor, name: str) -> Tensor:
    """Make the image without content that pixels are replaced by.

    Args:
        image (Tensor): Shape (1, 3, H, W).
        name (str): ``'mean'``, the image's mean colour, or ``'blur'``, a Gaussian of a sixteenth of its longer side.

    Returns:
        Tensor: Shape (1, 3, H, W).
    """
    if name == 'mean':
        return image.mean((2, 3), keepdim=True).expand_as(image)
    from torchvision.transforms.functional import gaussian_blur  # seconds, which few runs need

    sigma = max(image.shape[2:]) / 16
    # The kernel must fit in the image.
    size = [min(2 * round(3 * sigma) + 1, 2 * side - 1) for side in image.shape[2:]]
    return gaussian_blur(image, size[::-1], sigma)


@torch.no_grad()
def perturbation_curve(classify: Callable[[Tensor], Tensor], image: Tensor, relevance: Tensor, class_id: int,
                       mode: str = 'deletion', substrate: str = 'mean', step: float = 0.02,
                       batch_size: int = 16) -> list[float]:
    """Compute the logit of a class while the most relevant pixels are deleted from, or inserted into, the image.

    Args:
        classify (Callable): From images (n, 3, H, W) to logits (n, K).
        image (Tensor): Shape (1, 3, H, W).
        relevance (Tensor): Shape (H, W); pixels go in falling order, ties in raster order.
        class_id (int): The class.
        mode (str): ``'deletion'`` or ``'insertion'``.
        substrate (str): See :func:`substrate_of`.
        step (float): Share of the pixels in a step, above 0 to 1.
        batch_size (int): States classified at once.

    Returns:
        list[float]: Logits from none of the pixels to all of them, round(1 / step) + 1 values.
    """
    states = round(1 / step)
    rank = torch.empty(relevance.numel(), dtype=torch.int64, device=image.device)
    rank[relevance.flatten().argsort(descending=True, stable=True)] = torch.arange(len(rank), device=image.device)
    limits = (torch.arange(states + 1, device=image.device) * len(rank) / states).round()
    first, last = (image, substrate_of(image, substrate))[::1 if mode == 'deletion' else -1]
    curve = []
    for part in limits.split(batch_size):
        changed = (rank < part[:, None]).view(-1, 1, *image.shape[2:])
        curve += classify(torch.where(changed, last, first))[:, class_id].tolist()
    return curve


def area_under(curve: list[float]) -> float:
    """Compute the mean height of a curve of equal steps (trapezoids)."""
    return (sum(curve) - (curve[0] + curve[-1]) / 2) / (len(curve) - 1)

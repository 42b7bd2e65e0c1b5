"""Maps of an image for the logits of its classifier: the model's own relevance, and Captum's attributions."""
from typing import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from mmfss.models import UnrolledLRPSegmentor
from .extras import import_extra

ImageMap = Callable[[UnrolledLRPSegmentor, Tensor, Sequence[int], int], Tensor]
STEPS, STEPS_AT_ONCE = 50, 10


def relevance(model: UnrolledLRPSegmentor, image: Tensor, classes: Sequence[int], seed: int = 0) -> Tensor:
    """Compute the relevance maps that the model segments by.

    Args:
        model (UnrolledLRPSegmentor): The model, in eval mode.
        image (Tensor): Normalized, shape (1, 3, H, W).
        classes (Sequence[int]): k classes.
        seed (int): Not used.

    Returns:
        Tensor: Shape (k, H, W).
    """
    return model.classify_and_segment(image, classes)[1][0]


def _captum(name: str, **options: object) -> ImageMap:
    """Wrap a method of Captum, summed over the colours."""

    def attribute(model: UnrolledLRPSegmentor, image: Tensor, classes: Sequence[int], seed: int = 0) -> Tensor:
        method = getattr(import_extra('captum.attr'), name)(model.classify)
        with torch.enable_grad():
            maps = [method.attribute(image.detach().clone().requires_grad_(), target=int(c), **options)
                    for c in classes]
        return torch.cat(maps).sum(1).detach()

    return attribute


def random(model: UnrolledLRPSegmentor, image: Tensor, classes: Sequence[int], seed: int = 0) -> Tensor:
    """Draw maps without a meaning, a control; shape (k, H, W)."""
    noise = np.random.default_rng(seed).random((len(classes), *image.shape[2:]), dtype=np.float32)
    return torch.from_numpy(noise).to(image.device)


IMAGE_MAPS: dict[str, ImageMap] = dict(
    relevance=relevance,
    input_x_gradient=_captum('InputXGradient'),
    saliency=_captum('Saliency'),
    integrated_gradients=_captum('IntegratedGradients', n_steps=STEPS, internal_batch_size=STEPS_AT_ONCE),
    random=random)
"""By name. All but ``saliency`` and ``random`` are signed."""
UNSIGNED = ('saliency', 'random')

"""Cross entropy of pixels."""
import torch.nn.functional as F
from torch import Tensor

from mmfss.utils.determinism import avoids_atomics


def pixel_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the mean cross entropy over all pixels.

    Args:
        logits (Tensor): Shape (B, C, H, W).
        target (Tensor): Class of every pixel, 0 to C - 1, shape (B, H, W), int64.

    Returns:
        Tensor: A scalar. With deterministic algorithms on, a GPU adds up in a fixed order.
    """
    if avoids_atomics(logits):
        return F.cross_entropy(logits, target, reduction='none').mean()
    return F.cross_entropy(logits, target)

"""Composition of one-way predictions into one N-way prediction."""
from typing import Sequence

import torch
from torch import Tensor


def compose_ways(logits: Sequence[Tensor]) -> Tensor:
    """Combine the two-class logits of each way (rule of the AffEx reference implementation).

    Every way keeps its foreground logit. The background logit of a pixel is that of the way with the largest foreground
    logit there (the first of equals). For one way the logits are returned unchanged.

    Args:
        logits (Sequence[Tensor]): For each of N ways (B, 2, H, W): background, foreground.

    Returns:
        Tensor: Shape (B, N+1, H, W), channel 0 background.
    """
    if len(logits) == 1:
        return logits[0]
    background, foreground = torch.stack(list(logits), dim=2).unbind(1)
    strongest = foreground.argmax(dim=1, keepdim=True)
    return torch.cat((background.gather(1, strongest), foreground), dim=1)

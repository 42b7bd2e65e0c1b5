"""The effect of each compared layer on a DCAMA prediction, at a fraction of the cost of decoding once per layer."""
from typing import Iterator, Mapping, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers import Window, resize_adjoint, resize_window
from .matching_head import MatchingHead


def ablation_effects(head: MatchingHead, stacked: Mapping[int, Tensor], skipped: Tensor, region: Tensor) -> Tensor:
    """Compute the effects (B, L) of removing each layer of DCAMA; shared steps are computed once.

    Shared are what the skipped features contribute, the two levels whose evidence is whole, and, when the level of
    stride 8 is ablated, the merge of the other two. The mixers are local: they are computed around the region only. The
    ablations of a level are batches.

    Args:
        head (DCAMAHead): The head.
        stacked (dict): The coarse masks of levels 1, 2 and 3 as channels, (B, L, h, w) each.
        skipped (Tensor): What the skipped features contribute to the mixer's first convolution, (B, C, h, w) at level
            1/4.
        region (Tensor): Boolean, shape (B, H, W).

    Returns:
        Tensor: Not negative, shape (B, L), the layers of level 1 first.
    """
    refined = {level: head.refine[level - 1](stack) for level, stack in stacked.items()}
    coarse = head.merge_levels(1, refined[2], refined[3])
    # The mean of the resized logits of a region is a weighted sum of the logits.
    pixels = region.to(torch.promote_types(skipped.dtype, torch.float32)) / region.sum((1, 2), keepdim=True)
    weights = resize_adjoint(pixels[:, None], [4 * side for side in skipped.shape[-2:]])[:, 0]
    window = Window.around(weights)

    def mean_logit(ablated: Optional[int], masks: Tensor) -> Tensor:
        """Compute the mean foreground logit (B, n) with other masks (B * n, L, h, w) at level ``ablated``."""
        num = len(masks) // len(region)
        levels = {level: _repeat(x, num) for level, x in refined.items() if level != ablated}
        if ablated is not None:
            levels[ablated] = head.refine[ablated - 1](masks)
        below = _repeat(coarse, num) if ablated in (None, 1) else head.merge_levels(1, levels[2], levels[3])
        logits = _mix(head, head.merge_levels(0, levels[1], below), _repeat(skipped, num), window)
        return (logits[:, 1] * _repeat(window.cut(weights), num)).sum((1, 2)).view(-1, num)

    effects = [mean_logit(level, masks) for level, stack in stacked.items()
               for masks in _each_without(stack, head.ablation_batch)]
    return (mean_logit(None, stacked[1]) - torch.cat(effects, dim=1)).abs()


def _mix(head: MatchingHead, masks: Tensor, skipped: Tensor, wanted: Window) -> Tensor:
    """Compute a window of the logits (B, 2, 4 h, 4 w) from merged masks and skipped features of (h, w) positions."""
    quarter: Sequence[int] = skipped.shape[-2:]
    # Each of the three mixers is two convolutions of 3 x 3, which reach two positions far.
    third = wanted.grown(2)
    second = third.source([2 * side for side in quarter]).grown(2)
    first = second.source(quarter).grown(2)

    x = resize_window(masks, Window.full(masks.shape[-2:]), first)
    x = F.conv2d(x, head.mixer1[0].weight[:, :masks.shape[1]], padding=1) + first.cut(skipped)
    x = head.mixer2(resize_window(head.mixer1[1:](x), first, second))
    return wanted.within(head.mixer3(resize_window(x, second, third)), third)


def _repeat(x: Tensor, num: int) -> Tensor:
    """Repeat each element of a batch ``num`` times in a row, (B, ...) -> (B * num, ...)."""
    return x if num == 1 else x.repeat_interleave(num, dim=0)


def _each_without(stack: Tensor, at_a_time: int) -> Iterator[Tensor]:
    """Set one channel of a stack (B, L, h, w) to zero after the other: batches (B * n, L, h, w), n of the L."""
    kept = 1 - torch.eye(stack.shape[1], dtype=stack.dtype, device=stack.device)
    for rows in kept.split(at_a_time):
        yield (stack.unsqueeze(1) * rows[:, :, None, None]).flatten(0, 1)

"""AffEx written down formula by formula, as the measure for the streamed one.

Nothing is streamed and nothing is cached: a layer's affinity is one (query, support) matrix, each of its columns is
resized to the pixels of the query, and a layer is ablated by decoding everything again, as in the released
implementation of the paper (arXiv 2511.18163).
"""
from typing import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-6


def layer_contribution(scores: Tensor, query_size: tuple[int, int], support_size: tuple[int, int, int], region: Tensor,
                       size: tuple[int, int]) -> Tensor:
    """The contribution of one layer to a region of one query.

    Args:
        scores (Tensor): Raw affinities, (Q, S) with Q = h * w and S = K * h' * w'.
        query_size (tuple[int, int]): (h, w).
        support_size (tuple[int, int, int]): (K, h', w').
        region (Tensor): Boolean, (T_h, T_w).
        size (tuple[int, int]): (H, W) of the result.

    Returns:
        Tensor: Shape (K, H, W), sum about 1.
    """
    columns = scores.softmax(-1).t().unflatten(1, query_size)
    maps = F.interpolate(columns[None], region.shape, mode='bilinear', align_corners=False, antialias=True)[0]
    maps /= maps.sum((1, 2), keepdim=True) + EPS
    shares = maps[:, region].mean(1).view(support_size)
    contribution = F.interpolate(shares[None], size, mode='bilinear', align_corners=False)[0]
    return contribution / (contribution.sum() + EPS)


def layer_effects(decode: Callable[[list[Tensor]], Tensor], evidence: Sequence[Tensor], region: Tensor) -> Tensor:
    """Effect of setting each layer's evidence to zero on the mean foreground logit of a region.

    Args:
        decode (Callable): From the evidence of all layers to logits (1, 2, h, w).
        evidence (Sequence[Tensor]): Of L layers.
        region (Tensor): Boolean, (T_h, T_w).

    Returns:
        Tensor: Shape (L, ).
    """

    def mean_logit(layers: list[Tensor]) -> Tensor:
        logits = F.interpolate(decode(layers), region.shape, mode='bilinear', align_corners=False)
        return logits[0, 1][region].mean()

    whole, effects = mean_logit(list(evidence)), []
    for ablated in range(len(evidence)):
        layers = [torch.zeros_like(x) if index == ablated else x for index, x in enumerate(evidence)]
        effects.append((whole - mean_logit(layers)).abs())
    return torch.stack(effects)


def unmasked_map(contributions: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Weighted sum of contributions (K, H, W), scaled to 0..1 over all supports."""
    total = sum(weight * contribution for weight, contribution in zip(weights, contributions))
    return (total - total.min()) / (total.max() - total.min())

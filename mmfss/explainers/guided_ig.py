"""Integrated gradients on a path that avoids large gradients."""
from typing import Callable, Optional

import torch
from torch import Tensor

from mmfss.registry import EXPLAINERS
from .class_explainer import ClassExplainer
from .class_score import ClassScore, input_gradient


@EXPLAINERS.register_module(name='guided_ig')
class GuidedIG(ClassExplainer):
    """Integrate gradients on a path from zero that moves the features of least gradient first; absolute values.

    Source: Kapishnikov et al., "Guided Integrated Gradients", CVPR 2021, algorithm 1. Our own implementation: that of
    the authors does not run with NumPy 2. Explains the mean probability over the region, like the published comparison,
    in which query and supports are the features of one path. Cost: ``x_steps`` forward and backward passes, one after
    the other.

    Args:
        x_steps (int): Steps of the path. Defaults to 25.
        fraction (float): Share of the features that move together. Defaults to 0.5.
        max_dist (float): How far a feature may be from its place on the straight path, relative to the path, in
            [0, 1]; 0 is plain integrated gradients. Defaults to 1.
        perturb_query (bool): Whether the query moves along; otherwise it is encoded only once. Defaults to True.
        scaling (str, optional): Defaults to ``'scale_q'``; None gives absolute attributions, mean over channels.
    """

    differentiates = True
    probability = True

    def __init__(self,
                 x_steps: int = 25,
                 fraction: float = 0.5,
                 max_dist: float = 1.,
                 perturb_query: bool = True,
                 scaling: Optional[str] = 'scale_q') -> None:
        super().__init__(scaling)
        self.path = dict(steps=x_steps, fraction=fraction, max_dist=max_dist)
        self.perturb_query = perturb_query

    def explain_class(self, score: ClassScore) -> Tensor:
        support, query = score.support, score.query if self.perturb_query else None
        pixels = support.numel()

        def gradient(flat: Tensor) -> Tensor:
            moved = flat[:pixels].view_as(support)
            gradients = input_gradient(score, moved, None if query is None else flat[pixels:].view_as(query))
            return torch.cat([x.flatten() for x in (gradients if self.perturb_query else gradients[:1])])

        end = torch.cat([x.flatten() for x in ((support, query) if self.perturb_query else (support, ))])
        attribution = guided_path(gradient, end, torch.zeros_like(end), **self.path)
        return attribution[:pixels].view_as(support)[0].abs().mean(1)


def guided_path(gradient: Callable[[Tensor], Tensor],
                end: Tensor,
                start: Tensor,
                steps: int,
                fraction: float,
                max_dist: float,
                eps: float = 1e-7) -> Tensor:
    """Sum gradient times movement along the guided path; for a linear function this is gradient times difference.

    In step i the L1 distance to the end is brought down to 1 - i / steps of the whole. The features with the least
    absolute gradient move first, at most to the straight path's point ``max_dist`` ahead; those more than ``max_dist``
    behind are brought up.

    Args:
        gradient (Callable): Gradient at a point.
        end (Tensor): The input, shape (P, ).
        start (Tensor): The baseline, shape (P, ).
        steps (int): Number of steps, one gradient each.
        fraction (float): Share of the features that move together.
        max_dist (float): In [0, 1].
        eps (float): Distances closer than this, relative to the whole, are equal.

    Returns:
        Tensor: Shape (P, ).
    """
    dtype = end.dtype
    point, end, start = start.double(), end.double(), start.double()
    whole = (end - start).abs().sum()
    attribution = torch.zeros_like(point)
    rank = int(fraction * (len(point) - 1)) + 1
    for step in range(1, steps + 1):
        slope = gradient(point.to(dtype)).double()
        ahead = torch.lerp(start, end, min(step / steps + max_dist, 1))
        behind = torch.lerp(start, end, max(step / steps - max_dist, 0))
        target = whole * (1 - step / steps)
        before = point
        point = torch.where((point - start).abs() < (behind - start).abs(), behind, point)
        while (gap := (end - point).abs().sum() - target) > eps * whole:
            room = (ahead - point).abs()
            order = slope.abs().masked_fill(room == 0, torch.inf)
            free = (order <= order.kthvalue(rank).values) & (room > 0)
            if not free.any():
                break
            share = gap / room[free].sum()
            point = torch.where(free, torch.lerp(point, ahead, share.clamp(max=1)), point)
            if share <= 1:
                break
            # Exactly there, or the feature would be chosen again.
            point = torch.where(free, ahead, point)
        attribution = attribution + slope * (point - before)
    return attribution.to(dtype)

"""Losses for few connections, few active places and few prototypes."""
from typing import Optional

import torch
from torch import Tensor

from mmfss.registry import MODELS
from .base import PrototypeLoss, masked_mean
from .evidence import GroupEvidence, PrototypeEvidence


@MODELS.register_module()
class OffClassL1Loss(PrototypeLoss):
    """Minimize the sum of |w| over the last layer's connections of a class to other classes' prototypes or groups.

    Args:
        loss_weight (float): Defaults to 1e-4.
        loss_name (str, optional): Defaults to ``loss_l1``.
    """

    default_name = 'loss_l1'

    def __init__(self, loss_weight: float = 1e-4, loss_name: Optional[str] = None) -> None:
        super().__init__(loss_weight, loss_name)

    def value(self, evidence: PrototypeEvidence) -> Tensor:
        return evidence.weight.masked_fill(evidence.own, 0).abs().sum()


@MODELS.register_module()
class ActivationNormLoss(PrototypeLoss):
    """Minimize the size of the similarities of a class's prototypes on its cells. Not used by the published configs.

    Args:
        order (str): ``'l1'``, the mean over the cells of an image and class, or ``'linf'``, the maximum; then the mean
            over the prototypes of the class, then over images and classes.
        loss_weight, loss_name: See :class:`PrototypeLoss`.
    """

    default_name = 'loss_norm'

    def __init__(self, order: str = 'l1', loss_weight: float = 1.0, loss_name: Optional[str] = None) -> None:
        super().__init__(loss_weight, loss_name)
        if order not in ('l1', 'linf'):
            raise ValueError(f"ActivationNormLoss: order must be 'l1' or 'linf', got {order!r}.")
        self.order = order

    def value(self, evidence: PrototypeEvidence) -> Tensor:
        regions, exists = evidence.regions, evidence.exists.flatten(1)
        values = evidence.of_own_class(evidence.similarities).flatten(1).abs()
        norms = regions.sum(values) / regions.sizes[:, None] if self.order == 'l1' else regions.amax(values)
        means = norms.masked_fill(~exists, 0).sum(1) / exists.sum(1).clamp(min=1)
        return masked_mean(means, exists.any(1))


@MODELS.register_module()
class GroupCrossEntropyLoss(PrototypeLoss):
    """Maximize the cross entropy between the groups of a class, so that groups use different prototypes.

    Mean over classes and ordered pairs i, j of sum_m w_im log max(w_jm, 1e-5). Not used by the published configs.
    """

    default_name = 'loss_group_ce'

    def value(self, evidence: GroupEvidence) -> Tensor:
        groups = evidence.groups
        cross = torch.bmm(groups, groups.clamp(min=1e-5).log().transpose(1, 2))
        pairs = ~torch.eye(groups.shape[1], dtype=torch.bool, device=groups.device)
        return masked_mean(cross, evidence.populated[:, None, None] & pairs)


@MODELS.register_module()
class ScaleMaxLoss(PrototypeLoss):
    """Maximize the largest weight that a group gives to each scale. Not used by the published configs.

    Minus the mean over classes and the scales they have prototypes at, of the mean over groups.
    """

    default_name = 'loss_scale_max'

    def value(self, evidence: GroupEvidence) -> Tensor:
        scale = torch.where(evidence.members >= 0, evidence.proto_scale[evidence.members.clamp(min=0)], -1)
        at = scale[:, None] == torch.arange(len(evidence.distances), device=scale.device)[:, None]  # (C, S, n)
        largest = evidence.groups[:, :, None].masked_fill(~at[:, None], 0).amax(3)
        return -masked_mean(largest.mean(1), at.any(2))

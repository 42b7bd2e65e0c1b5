"""Entropy losses: how spread out weights or similarities are, relative to the maximum."""
import torch
from torch import Tensor

from mmfss.registry import MODELS
from .base import PrototypeLoss, masked_mean
from .evidence import GroupEvidence, PrototypeEvidence


def group_entropy(groups: Tensor, exists: Tensor) -> Tensor:
    """Compute the entropy of each row of weights, divided by the entropy of equal weights.

    Args:
        groups (Tensor): Rows on the simplex, shape (C, K, n).
        exists (Tensor): Which entries are prototypes, shape (C, n), bool.

    Returns:
        Tensor: -sum w log(w + 1e-5) / log n_c, about 0 to 1, shape (C, K). A class with a single prototype has nothing
        to choose from: 0.
    """
    counts = exists.sum(1)
    terms = (groups * (groups + 1e-5).log()).masked_fill(~exists[:, None], 0)
    return -terms.sum(2) / counts.clamp(min=2).log()[:, None] * (counts > 1)[:, None]


@MODELS.register_module()
class GroupEntropyLoss(PrototypeLoss):
    """Minimize the mean entropy of the groups of all classes with prototypes, which makes groups sparse (stage 2).

    Args:
        loss_weight (float): Defaults to 0.05.
        loss_name (str, optional): Defaults to ``loss_entropy``.
    """

    default_name = 'loss_entropy'

    def __init__(self, loss_weight: float = 0.05, loss_name: str | None = None) -> None:
        super().__init__(loss_weight, loss_name)

    def value(self, evidence: GroupEvidence) -> Tensor:
        entropy = group_entropy(evidence.groups, evidence.members >= 0)
        return masked_mean(entropy, evidence.populated[:, None])


@MODELS.register_module()
class SampleEntropyLoss(PrototypeLoss):
    """Minimize the entropy of a cell's similarities to its class's prototypes of a scale. Not in published configs.

    The softmax over these prototypes has an entropy in [0, log M]; it is divided by log M, averaged over the cells of
    an image, class and scale, then over these.
    """

    default_name = 'loss_sample_entropy'

    def value(self, evidence: PrototypeEvidence) -> Tensor:
        exists, regions = evidence.exists, evidence.regions
        values = evidence.of_own_class(evidence.similarities).masked_fill(~exists[regions.region], -torch.inf)
        counts = exists.sum(2)
        # A scale without any prototype of the class would give NaN, here and in the backward pass.
        values = values.masked_fill((counts == 0)[regions.region][..., None], 0)
        log_v = values.log_softmax(2).masked_fill(~exists[regions.region], 0)
        terms = -(log_v.exp() * log_v).sum(2)
        means = regions.sum(terms) / regions.sizes[:, None] / counts.clamp(min=2).log()
        return masked_mean(means, counts > 0)


@MODELS.register_module()
class SpatialEntropyLoss(PrototypeLoss):
    """Minimize the entropy of a prototype's similarities over the cells of its class. Not used by published configs.

    The softmax over the cells Z of an image and class (two at least) has an entropy in ``[0, log |Z|]``; it is divided
    by ``log |Z|``, averaged over the prototypes, then over images and classes.
    """

    default_name = 'loss_spatial_entropy'

    def value(self, evidence: PrototypeEvidence) -> Tensor:
        exists, regions = evidence.exists.flatten(1), evidence.regions
        log_v = regions.log_softmax(evidence.of_own_class(evidence.similarities).flatten(1))
        entropy = -regions.sum(log_v.exp() * log_v) / regions.sizes.clamp(min=2).log()[:, None]
        means = entropy.masked_fill(~exists, 0).sum(1) / exists.sum(1).clamp(min=1)
        return masked_mean(means, (regions.sizes > 1) & exists.any(1))

"""Loss that makes the prototypes of a class attend to different places."""
import torch
from torch import Tensor

from mmfss.registry import MODELS
from .base import PrototypeLoss, masked_mean
from .evidence import GroupEvidence, PrototypeEvidence
from .regions import ClassRegions


def jeffreys_similarity(values: Tensor, exists: Tensor, regions: ClassRegions) -> Tensor:
    r"""Average exp(-J) over the pairs of maps of a class, J the Jeffreys divergence of their spatial distributions.

    For each region Z (an image's cells of a class, two at least) and map p, v_p is the softmax of the map over Z;
    :math:`J_{jk} = (KL(v_j \| v_k) + KL(v_k \| v_j)) / 2 = \sum_Z (v_j - v_k)(\log v_j - \log v_k) / 2`.

    Args:
        values (Tensor): Value of each cell on the maps of its class, shape (n, G, M): pairs are formed among the M.
        exists (Tensor): Which maps a region's class has, shape (R, G, M), bool.
        regions (ClassRegions): The n cells and R regions.

    Returns:
        Tensor: A scalar in (0, 1]; 0 if there is no pair.
    """
    first, second = torch.triu_indices(values.shape[2], values.shape[2], 1, device=values.device)
    log_v = regions.log_softmax(values)
    v = log_v.exp()
    terms = (v[..., first] - v[..., second]) * (log_v[..., first] - log_v[..., second])
    counted = exists[..., first] & exists[..., second] & (regions.sizes > 1)[:, None, None]
    return masked_mean((-regions.sum(terms) / 2).exp(), counted)


@MODELS.register_module()
class JeffreysDiversityLoss(PrototypeLoss):
    """Penalize prototypes of a class that are active at the same places at one scale (diversity loss, section 3).

    The spatial distribution of a prototype is the softmax of its *distance* over the cells of its class, so the cells
    that are far from it count most. Terms of all images, classes, scales and pairs are pooled: frequent classes weigh
    more. In (0, 1], 0 if no class has two cells and two prototypes.

    Args:
        loss_weight (float): Defaults to 0.25.
        loss_name (str, optional): Defaults to ``loss_diversity``.
    """

    default_name = 'loss_diversity'

    def __init__(self, loss_weight: float = 0.25, loss_name: str | None = None) -> None:
        super().__init__(loss_weight, loss_name)

    def value(self, evidence: PrototypeEvidence) -> Tensor:
        values = evidence.of_own_class(evidence.distances)
        return jeffreys_similarity(values, evidence.exists, evidence.regions)


@MODELS.register_module()
class GroupDiversityLoss(PrototypeLoss):
    """Penalize groups of a class that are active at the same places. Not used by the published configs."""

    default_name = 'loss_group_diversity'

    def value(self, evidence: GroupEvidence) -> Tensor:
        values = evidence.regions.own(evidence.activations, evidence.group_table)[:, None]
        exists = (evidence.group_table >= 0)[evidence.regions.classes][:, None]
        return jeffreys_similarity(values, exists, evidence.regions)

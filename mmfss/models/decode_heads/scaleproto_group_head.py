"""ScaleProtoSeg, stage 2: sparse groups of prototypes across scales (Porta et al., WACV 2025)."""
from typing import Any

import torch
from torch import Tensor, nn

from mmfss.registry import MODELS
from ..layers.precision import full_precision
from ..layers.prototypes import LastLayer, joined_similarities, matmul_maps
from ..layers.simplex import project_to_simplex
from ..losses import ClassRegions, GroupEvidence, group_entropy
from .logit_reading import GroupReading
from .prototype_head import PrototypeHead


@MODELS.register_module()
class ScaleProtoGroupHead(PrototypeHead):
    """Combine groups linearly into logits; a group is a weighted geometric mean of a class's similarities.

    Letters: K groups per class, n_c prototypes of class c and n the most of any, C' classes that have prototypes.

    Row k of class c weighs the prototypes of the class, of all scales, by a point of the probability simplex:
    g_ck = exp(sum_m G_ckm a_m), above 1 and at most 1 / epsilon; logits = V g. Only G and V are learned; backbone,
    scale head and prototypes are those of stage 1 after its push; their number is read from its checkpoint.
    G is stored as one tensor (C, K, n), zero where a class has fewer than n prototypes; groups of a class without
    prototypes do not exist.
    :class:`mmfss.prototypes.SimplexProjectionHook` brings the rows back to the simplex after every
    update. The published settings: ``regularizers=[dict(type='GroupEntropyLoss', loss_weight=0.05),
    dict(type='OffClassL1Loss', loss_weight=1e-3)]``.

    Args:
        num_groups (int): K.
        **kwargs: See :class:`PrototypeHead`. With ``off_class_weight=0`` these weights stay 0.
    """

    def __init__(self, *args: Any, num_groups: int = 3, **kwargs: Any) -> None:
        if num_groups < 1:
            raise ValueError(f'ScaleProtoGroupHead: num_groups must be at least 1, got {num_groups}.')
        self._num_groups = num_groups
        super().__init__(*args, **kwargs)

    @property
    def num_groups(self) -> int:
        """Groups per class, K."""
        return self._num_groups

    @property
    def group_members(self) -> Tensor:
        """Tensor: Prototypes that the groups of each class weigh, -1 for none, shape (C, n), int64."""
        return self._members

    @property
    def populated(self) -> Tensor:
        """Tensor: Classes that have prototypes and so groups, shape (C,), bool."""
        return (self._members >= 0).any(1)

    @property
    def group_class(self) -> Tensor:
        """Tensor: Class of each of the C' * K groups, int64."""
        return self._classes.repeat_interleave(self.num_groups)

    @property
    def own_groups(self) -> Tensor:
        """Tensor: Which groups belong to each class, shape (C, C' * K), bool."""
        group_class = self.group_class
        return group_class == torch.arange(self.num_classes, device=group_class.device)[:, None]

    def classify(self, features: Tensor) -> Tensor:
        return matmul_maps(self.class_weights, self.group_activations(self.distances(features)))

    def explain_logits(self, distances: list[Tensor], regions: ClassRegions) -> tuple[Tensor, GroupEvidence]:
        activations = self.group_activations(distances)
        evidence = GroupEvidence(distances, self._table, regions, self.class_weights, self.own_groups, self.epsilon,
                                 self.group_weights, self._members, self.proto_scale, activations, self._group_table())
        return matmul_maps(evidence.weight, activations), evidence

    def group_activations(self, distances: list[Tensor]) -> Tensor:
        """Compute the activations g of all groups.

        Args:
            distances (list[Tensor]): Squared distances of each scale, (B, P_s, h, w).

        Returns:
            Tensor: Shape (B, C' * K, h, w), class after class, in (1, 1 / epsilon].
        """
        size = distances[0].shape[-2:]
        similarities = joined_similarities(distances, self.epsilon).flatten(2)
        # Where a class has fewer prototypes than others any of them stands, with weight 0.
        members = self._members[self._classes].clamp(min=0)
        by_class = similarities[:, members.flatten()].unflatten(1, members.shape)
        with full_precision(by_class.device):
            return torch.matmul(self.group_weights[self._classes], by_class).exp().flatten(1, 2).unflatten(2, size)

    @torch.no_grad()
    def read(self, features: Tensor) -> GroupReading:
        similarities = joined_similarities(self.distances(features), self.epsilon)[0].double()
        members = self.group_members[self.populated].clamp(min=0)
        weights = self.group_weights[self.populated].double()
        groups = (weights @ similarities.flatten(1)[members.flatten()].unflatten(0, members.shape)).flatten(0, 1)
        logits = self.class_weights.double() @ groups.exp()
        logits, groups = (x.unflatten(1, similarities.shape[1:]) for x in (logits, groups))
        return GroupReading(self, similarities, logits, groups)

    @property
    def used_prototypes(self) -> Tensor:
        """Tensor: Which prototypes have a weight in some group, shape (P,), bool."""
        used = torch.zeros_like(self.proto_class, dtype=torch.bool)
        used[self._members[(self.group_weights > 0).any(1) & (self._members >= 0)]] = True
        return used

    def class_prototypes(self, class_id: int) -> Tensor:
        members = self._members[class_id]
        return members[(self.group_weights[class_id] > 0).any(0) & (members >= 0)]

    def filled_groups(self, class_id: int) -> int:
        return int((self.group_weights[class_id] > 0).any(1).sum())

    @property
    def group_weights(self) -> Tensor:
        """Tensor: G, shape (C, K, n); entries without a prototype get no gradient."""
        return self.groups.masked_fill((self._members < 0)[:, None], 0)

    @property
    def class_weights(self) -> Tensor:
        """Tensor: V, shape (C, C' * K)."""
        weight = self.group_classifier.weight
        return weight if self.off_class_weight else weight.masked_fill(~self.own_groups, 0)

    @torch.no_grad()
    def project_groups(self) -> None:
        """Bring every row of G back to the simplex."""
        self.groups.copy_(project_to_simplex(self.groups, (self._members >= 0)[:, None]))

    @torch.no_grad()
    def threshold_groups(self, threshold: float = 0.05) -> None:
        """Set weights of G below a threshold to 0. Rows are not normalized again, as published.

        Args:
            threshold (float): In [0, 1].
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f'threshold must lie in [0, 1], got {threshold}.')
        self.groups.masked_fill_(self.groups < threshold, 0)

    @torch.no_grad()
    def entropy(self) -> Tensor:
        """Normalized entropy of every group, shape (C, K); 0 for classes with less than two prototypes."""
        return group_entropy(self.group_weights, self._members >= 0)

    def _group_table(self) -> Tensor:
        """Groups of each class among all, -1 for a class without, shape (C, K)."""
        numbers = torch.full((self.num_classes, self.num_groups), -1, device=self.groups.device)
        numbers[self._classes] = torch.arange(len(self.group_class), device=numbers.device).view(-1, self.num_groups)
        return numbers

    def _build_classifier(self) -> None:
        self.groups = nn.Parameter(torch.zeros(self.num_classes, self.num_groups, 0))
        self.group_classifier = LastLayer(self.num_classes)

    def _reset_classifier(self) -> None:
        counts = (self._members >= 0).sum(1)
        bound = counts.clamp(min=1).rsqrt()[:, None, None]
        shape = (self.num_classes, self.num_groups, self._members.shape[1])
        self.groups.data = (2 * torch.rand(shape, device=bound.device) - 1) * bound
        self.project_groups()
        self.group_classifier.weight.data = self.initial_weights(self.own_groups)

    def _keep_in_classifier(self, index: Tensor) -> None:
        raise NotImplementedError('Prototypes are removed in stage 1; train the groups on what is left.')

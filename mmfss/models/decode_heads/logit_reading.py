"""Taking a logit of a prototype model apart: groups, prototypes, and what other classes take away (section 10)."""
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor

from mmfss.models import PrototypeHead, ScaleProtoGroupHead
from mmfss.models.layers.prototypes import log_similarity

Parts = dict[str, Any]


@dataclass
class LogitReading:
    """What the prototypes and groups of a model say of one image.

    Letters: C classes, P prototypes, G groups (0 in stage 1), feature grid h x w. All in float64.

    Attributes:
        head (PrototypeHead): Whose they are.
        similarities (Tensor): a, shape (P, h, w).
        log_groups (Tensor): Weighted similarities, log g, shape (G, h, w).
        logits (Tensor): Shape (C, h, w).
    """
    head: PrototypeHead
    similarities: Tensor
    log_groups: Tensor
    logits: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, head: PrototypeHead, features: Tensor) -> 'LogitReading':
        """Read one image.

        Args:
            head (PrototypeHead): The head, of either stage.
            features (Tensor): z, see :meth:`PrototypeHead.features`, shape (1, S * D, h, w).
        """
        maps = torch.cat([log_similarity(d, head.epsilon) for d in head.distances(features)], dim=1)[0].double()
        flat = maps.flatten(1)
        if not isinstance(head, ScaleProtoGroupHead):
            logits = head.classifier.weight.double() @ flat
            return cls(head, maps, maps[:0], logits.unflatten(1, maps.shape[1:]))
        members = head.group_members[head.populated].clamp(min=0)
        weights = head.group_weights[head.populated].double()
        groups = (weights @ flat[members.flatten()].unflatten(0, members.shape)).flatten(0, 1)
        logits = head.class_weights.double() @ groups.exp()
        return cls(head, maps, *(x.unflatten(1, maps.shape[1:]) for x in (groups, logits)))

    @property
    def grouped(self) -> bool:
        """Whether the model has groups."""
        return isinstance(self.head, ScaleProtoGroupHead)

    @torch.no_grad()
    def explain(self, class_id: int, region: Optional[Tensor] = None) -> Parts:
        r"""Take the mean logit of a class over a region apart, exactly.

        With weights w of the cells and sum 1, :math:`\bar l = \sum_k V_k \bar g_k + \mathrm{others}`, the bar being the
        mean under w. A group's :math:`V_k g_k` is divided among its prototypes, cell by cell, in proportion to what
        each adds to :math:`\log g_k = \sum_m G_{km} a_m`.

        Args:
            class_id (int): The class.
            region (Tensor, optional): Weights of the cells, shape (h, w); scaled to sum 1. All cells alike by default.

        Returns:
            dict: ``class_id``; ``logit``, the mean; in stage 2 ``groups``, those of the class by falling contribution,
            each with its number ``group`` within the class, ``weight`` V, ``activation`` (mean g), ``log_activation``
            (mean log g), ``contribution`` (their product; contributions and those of ``others`` sum to the logit) and
            ``prototypes``, and in stage 1 ``prototypes`` alone, by falling contribution, each with ``index``,
            ``scale``, ``weight`` (G, W in stage 1), ``similarity`` (mean a), ``contribution`` (to the logit) and in
            stage 2 ``log_share`` (sum: the group's ``log_activation``). ``others``: of each other class, what its
            groups or prototypes add, by falling size.
        """
        weights = torch.ones_like(self.logits[0]) if region is None else region.to(self.logits)
        weights = weights / weights.sum()
        parts: Parts = dict(class_id=class_id, logit=_mean(self.logits[class_id], weights))
        if self.grouped:
            parts['groups'] = self._groups(class_id, weights)
        else:
            parts['prototypes'] = self._own_prototypes(class_id, weights)
        parts['others'] = self._others(class_id, weights)
        return parts

    def group_numbers(self, class_id: int) -> Tensor:
        """Places of a class's groups among all groups, int64; empty in stage 1."""
        if not self.grouped:
            return self.head.proto_class[:0]
        return (self.head.group_class == class_id).nonzero().flatten()

    @torch.no_grad()
    def strongest_group(self, class_id: int) -> Tensor:
        """Which group of a class, which must have some, says most for it in each cell, 0 to K - 1, shape (h, w)."""
        numbers = self.group_numbers(class_id)
        weights = self.head.class_weights[class_id, numbers].double()
        return (weights[:, None, None] * self.log_groups[numbers].exp()).argmax(0)

    def strongest_prototype(self, class_id: int) -> Tensor:
        """The most similar prototype in each cell, as its place in :func:`class_prototypes`, shape (h, w)."""
        return self.similarities[class_prototypes(self.head, class_id)].argmax(0)

    def _groups(self, class_id: int, weights: Tensor) -> list[Parts]:
        groups = []
        for place, number in enumerate(self.group_numbers(class_id).tolist()):
            weight, log_group = float(self.head.class_weights[class_id, number]), self.log_groups[number]
            activation = log_group.exp()
            groups.append(dict(
                group=place, weight=weight, activation=_mean(activation, weights),
                log_activation=_mean(log_group, weights), contribution=weight * _mean(activation, weights),
                prototypes=self._in_group(class_id, place, weight, activation / log_group, weights)))
        return _sorted(groups)

    def _in_group(self, class_id: int, place: int, weight: float, factor: Tensor, weights: Tensor) -> list[Parts]:
        """Prototypes of a group, with factor (h, w) = g / log g."""
        rows, members = self.head.group_weights[class_id, place], self.head.group_members[class_id]
        found = []
        for slot in (rows > 0).nonzero().flatten().tolist():
            index, own = int(members[slot]), float(rows[slot])
            similarity = self.similarities[index]
            found.append(self._prototype(index, own, similarity, weights,
                                         log_share=own * _mean(similarity, weights),
                                         contribution=weight * own * _mean(similarity * factor, weights)))
        return _sorted(found)

    def _own_prototypes(self, class_id: int, weights: Tensor) -> list[Parts]:
        found = []
        for index in class_prototypes(self.head, class_id).tolist():
            weight, similarity = float(self.head.classifier.weight[class_id, index]), self.similarities[index]
            found.append(self._prototype(index, weight, similarity, weights,
                                         contribution=weight * _mean(similarity, weights)))
        return _sorted(found)

    def _prototype(self, index: int, weight: float, similarity: Tensor, weights: Tensor, **parts: float) -> Parts:
        return dict(index=index, scale=int(self.head.proto_scale[index]), weight=weight,
                    similarity=_mean(similarity, weights), **parts)

    def _others(self, class_id: int, weights: Tensor) -> list[Parts]:
        if self.grouped:
            owner, row, maps = self.head.group_class, self.head.class_weights[class_id], self.log_groups.exp()
        else:
            owner, row, maps = self.head.proto_class, self.head.classifier.weight[class_id], self.similarities
        terms = row.double() * (maps * weights).sum((1, 2))
        sums = terms.new_zeros(self.head.num_classes).index_add_(0, owner, terms).tolist()
        others = [dict(class_id=other, contribution=value) for other, value in enumerate(sums)
                  if other != class_id and value != 0]
        return sorted(others, key=lambda entry: -abs(entry['contribution']))


def class_prototypes(head: PrototypeHead, class_id: int) -> Tensor:
    """Prototypes that the groups of a class use (in stage 1: that it has), ascending, int64."""
    if not isinstance(head, ScaleProtoGroupHead):
        return (head.proto_class == class_id).nonzero().flatten()
    members = head.group_members[class_id]
    return members[(head.group_weights[class_id] > 0).any(0) & (members >= 0)]


def filled_groups(head: PrototypeHead, class_id: int) -> int:
    """Number of groups of a class that have a prototype left; 0 in stage 1."""
    return int((head.group_weights[class_id] > 0).any(1).sum()) if isinstance(head, ScaleProtoGroupHead) else 0


def _mean(values: Tensor, weights: Tensor) -> float:
    return float((values * weights).sum())


def _sorted(parts: list[Parts]) -> list[Parts]:
    return sorted(parts, key=lambda part: -part['contribution'])


def used_prototypes(head: PrototypeHead) -> Tensor:
    """Which prototypes have a weight in some group, shape (P,), bool; without groups, all of them.

    Args:
        head (PrototypeHead): The head.
    """
    if not isinstance(head, ScaleProtoGroupHead):
        return torch.ones_like(head.proto_class, dtype=torch.bool)
    used = torch.zeros_like(head.proto_class, dtype=torch.bool)
    members = head.group_members
    used[members[(head.group_weights > 0).any(1) & (members >= 0)]] = True
    return used

"""Decompose the logits of a prototype model into groups, prototypes and the share of other classes."""
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor, nn

Parts = dict[str, Any]


@dataclass
class LogitReading:
    r"""Decompose the prediction of a stage-1 model for one image; see :class:`GroupReading` for stage 2.

    Letters: C classes, P prototypes, feature grid h x w. All in float64.

    Attributes:
        head (PrototypeHead): The head that was read.
        similarities (Tensor): a, shape (P, h, w).
        logits (Tensor): Shape (C, h, w).
    """
    head: nn.Module
    similarities: Tensor
    logits: Tensor

    @torch.no_grad()
    def explain(self, class_id: int, region: Optional[Tensor] = None) -> Parts:
        r"""Decompose the mean logit of a class over a region, exactly.

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
        return dict(class_id=class_id, logit=_mean(self.logits[class_id], weights), **self._own(class_id, weights),
                    others=self._others(class_id, weights))

    def strongest_prototype(self, class_id: int) -> Tensor:
        """Return the most similar prototype in each cell, as its place in ``head.class_prototypes``, shape (h, w)."""
        return self.similarities[self.head.class_prototypes(class_id)].argmax(0)

    def _own(self, class_id: int, weights: Tensor) -> Parts:
        """Compute the parts that belong to the class itself."""
        found = []
        for index in self.head.class_prototypes(class_id).tolist():
            weight, similarity = float(self.head.classifier.weight[class_id, index]), self.similarities[index]
            found.append(self._prototype(index, weight, similarity, weights,
                                         contribution=weight * _mean(similarity, weights)))
        return dict(prototypes=_sorted(found))

    def _prototype(self, index: int, weight: float, similarity: Tensor, weights: Tensor, **parts: float) -> Parts:
        return dict(index=index, scale=int(self.head.proto_scale[index]), weight=weight,
                    similarity=_mean(similarity, weights), **parts)

    def _others(self, class_id: int, weights: Tensor) -> list[Parts]:
        owner, row, maps = self._terms(class_id)
        terms = row.double() * (maps * weights).sum((1, 2))
        sums = terms.new_zeros(self.head.num_classes).index_add_(0, owner, terms).tolist()
        others = [dict(class_id=other, contribution=value) for other, value in enumerate(sums)
                  if other != class_id and value != 0]
        return sorted(others, key=lambda entry: -abs(entry['contribution']))

    def _terms(self, class_id: int) -> tuple[Tensor, Tensor, Tensor]:
        """List the terms of a logit: the class that owns each, its weight, its map (h, w)."""
        return self.head.proto_class, self.head.classifier.weight[class_id], self.similarities


@dataclass
class GroupReading(LogitReading):
    """Decompose the prediction of a stage-2 model for one image into groups and prototypes.

    Attributes:
        log_groups (Tensor): Weighted similarities, log g, shape (G, h, w).
    """
    log_groups: Tensor

    def group_numbers(self, class_id: int) -> Tensor:
        """Return the places of a class's groups among all groups, int64."""
        return (self.head.group_class == class_id).nonzero().flatten()

    @torch.no_grad()
    def strongest_group(self, class_id: int) -> Tensor:
        """Return the group that contributes most to a class in each cell, 0 to K - 1, shape (h, w)."""
        numbers = self.group_numbers(class_id)
        weights = self.head.class_weights[class_id, numbers].double()
        return (weights[:, None, None] * self.log_groups[numbers].exp()).argmax(0)

    def _own(self, class_id: int, weights: Tensor) -> Parts:
        groups = []
        for place, number in enumerate(self.group_numbers(class_id).tolist()):
            weight, log_group = float(self.head.class_weights[class_id, number]), self.log_groups[number]
            activation = log_group.exp()
            groups.append(dict(
                group=place, weight=weight, activation=_mean(activation, weights),
                log_activation=_mean(log_group, weights), contribution=weight * _mean(activation, weights),
                prototypes=self._in_group(class_id, place, weight, activation / log_group, weights)))
        return dict(groups=_sorted(groups))

    def _in_group(self, class_id: int, place: int, weight: float, factor: Tensor, weights: Tensor) -> list[Parts]:
        """Decompose a group into its prototypes, with factor (h, w) = g / log g."""
        rows, members = self.head.group_weights[class_id, place], self.head.group_members[class_id]
        found = []
        for slot in (rows > 0).nonzero().flatten().tolist():
            index, own = int(members[slot]), float(rows[slot])
            similarity = self.similarities[index]
            found.append(self._prototype(index, own, similarity, weights,
                                         log_share=own * _mean(similarity, weights),
                                         contribution=weight * own * _mean(similarity * factor, weights)))
        return _sorted(found)

    def _terms(self, class_id: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.head.group_class, self.head.class_weights[class_id], self.log_groups.exp()


def _mean(values: Tensor, weights: Tensor) -> float:
    return float((values * weights).sum())


def _sorted(parts: list[Parts]) -> list[Parts]:
    return sorted(parts, key=lambda part: -part['contribution'])

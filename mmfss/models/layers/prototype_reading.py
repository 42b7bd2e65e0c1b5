"""Decomposition of a few-shot prediction into prototypes, groups and the support cells they come from."""
from dataclasses import dataclass
from typing import Optional

import torch
from torch import Tensor

from .support_prototypes import BACKGROUND, FOREGROUND, SupportPrototypes

SIDES = (FOREGROUND, BACKGROUND)


@dataclass(frozen=True)
class PrototypeReading:
    """Decompose a prediction of :class:`FewShotScaleProtoHead`.

    Letters: B queries, S scales, P prototypes of a scale, G groups, query grid h x w, K shots with support grid h' x
        w'.

    Attributes:
        prototypes (SupportPrototypes): The prototypes, their groups, and the support cells they were made of.
        similarities (Tensor): Similarity of each query cell to each prototype, not negative, (B, S, P, h, w).
        activations (Tensor): Activation of each group, log g: the similarities weighted by the group, (B, G, h, w).
        sides (Tensor): Combined scores of the foreground groups and of the background groups, (B, 2, h, w).
        odds (Tensor): Log odds of the foreground by the groups alone: the difference of the sides plus ``bias``,
            (B, h, w).
        logits (Tensor): The prediction, (B, 2, h, w). Half the difference between its own log odds and ``odds`` is
            the decoder's.
        sharpness (Tensor): Factor of the activations, a scalar.
        bias (Tensor): A scalar.
    """
    prototypes: SupportPrototypes
    similarities: Tensor
    activations: Tensor
    sides: Tensor
    odds: Tensor
    logits: Tensor
    sharpness: Tensor
    bias: Tensor

    @property
    def group_shares(self) -> Tensor:
        """Compute the share of each group in the score of its side, sum 1 over the groups of a side, (B, G, h, w)."""
        shares = torch.zeros_like(self.activations)
        for side in SIDES:
            exists = self.prototypes.groups_of_side(side)[..., None, None]
            logits = (self.sharpness * self.activations).masked_fill(~exists, torch.finfo(shares.dtype).min)
            shares = shares + logits.softmax(1) * exists
        return shares

    def prototype_maps(self) -> Tensor:
        """Compute the contribution of each prototype to the score of its side.

        A group's share of the side is divided among its prototypes as they make up its activation. The contributions
        are not negative and complete: over the prototypes of a side they sum to :attr:`sides`.

        Returns:
            Tensor: Shape (B, S, P, h, w).
        """
        batch, scales, num, height, width = self.similarities.shape
        # Parts (B, S, P) of sum_k share_k log g_k, first as weights of similarities, in one product.
        weights = self.prototypes.groups.flatten(2).transpose(1, 2) @ self.group_shares.flatten(2)
        parts = weights.view(batch, scales, num, height, width) * self.similarities
        maps = torch.zeros_like(parts)
        for index, side in enumerate(SIDES):
            own = parts * (self.prototypes.side == side)[:, None, None]
            total = own.sum((1, 2), keepdim=True)
            maps = maps + own * (self.sides[:, index, None, None] / total.clamp(min=torch.finfo(total.dtype).tiny))
        return maps

    def group_parts(self, region: Optional[Tensor] = None) -> Tensor:
        """Compute the contribution of each prototype in each group to the score of its side in a query region.

        :meth:`prototype_maps`, apart for each group and summed over the region: the sum over the groups is that of
        these maps, the sum over the groups and prototypes of a side that of :attr:`sides`.

        Args:
            region (Tensor, optional): Weights of the query cells, shape (B, h, w); by default 1 each.

        Returns:
            Tensor: Not negative, shape (B, G, S, P).
        """
        shares = self.group_shares
        weights = torch.zeros_like(shares)
        for index, side in enumerate(SIDES):
            own = shares * (self.prototypes.group_side == side)[:, None, None]
            total = (own * self.activations).sum(1, keepdim=True)
            weights = weights + own * (self.sides[:, index:index + 1] / total.clamp(min=torch.finfo(total.dtype).tiny))
        if region is not None:
            weights = weights * region[:, None].to(weights.dtype)
        return self.prototypes.groups * torch.einsum('bghw,bsphw->bgsp', weights, self.similarities)

    def support_maps(self, region: Optional[Tensor] = None) -> Tensor:
        """Compute the contribution of every support cell, through all prototypes, to a region of the query.

        A prototype's contribution is divided among the cells that it was made of. Complete: the sum over the cells is
        the sum of :attr:`sides` over the region.

        Args:
            region (Tensor, optional): Weights of the query cells, shape (B, h, w); by default 1 each.

        Returns:
            Tensor: Not negative, foreground's and background's, shape (B, 2, K, h', w').
        """
        maps = self.prototype_maps()
        weights = (maps if region is None else maps * region[:, None, None].to(maps.dtype)).sum((3, 4))
        by_side = [weights * (self.prototypes.side == side) for side in SIDES]
        assignments = self.prototypes.assignments.expand(len(maps), -1, -1, -1)
        found = [torch.einsum('bsp,bspn->bn', x, assignments) for x in by_side]
        return torch.stack(found, dim=1).unflatten(2, self.prototypes.size)

    def source_places(self) -> Tensor:
        """Return the support cell that represents each prototype: (shot, row, column), int64, shape (B, S, P, 3)."""
        _, height, width = self.prototypes.size
        cell = self.prototypes.sources
        return torch.stack((cell // (height * width), cell // width % height, cell % width), dim=-1)

    def assignment_maps(self) -> Tensor:
        """Return the weights of the support cells in each prototype as maps, shape (B, S, P, K, h', w')."""
        return self.prototypes.assignments.unflatten(3, self.prototypes.size)

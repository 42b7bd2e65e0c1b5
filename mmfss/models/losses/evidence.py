"""Evidence that a prototype head passes to its losses."""
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ..layers.prototypes import log_similarity
from .regions import ClassRegions


@dataclass
class PrototypeEvidence:
    """Hold the distances to the prototypes at one input resolution, with their classes and regions.

    Letters: B images, S scales, C classes, M prototypes per class and scale (at most), P_s prototypes of scale s.

    Attributes:
        distances (list[Tensor]): Of each scale the squared distances, shape (B, P_s, h, w).
        table (Tensor): Prototypes of each class among those of a scale, -1 for none, shape (S, C, M), int64.
        regions (ClassRegions): The cells by image and class.
        weight (Tensor): Weights of the last layer, shape (C, P), or (C, G) for G groups.
        own (Tensor): Which of them connect a class with its own, bool, the same shape.
        epsilon (float): Of the similarity.
    """
    distances: list[Tensor]
    table: Tensor
    regions: ClassRegions
    weight: Tensor
    own: Tensor
    epsilon: float

    @cached_property
    def similarities(self) -> list[Tensor]:
        """list[Tensor]: Of each scale the similarities, shape (B, P_s, h, w)."""
        return [log_similarity(distances, self.epsilon) for distances in self.distances]

    def of_own_class(self, maps: list[Tensor]) -> Tensor:
        """Pick each cell's values for the prototypes of its own class.

        Args:
            maps (list[Tensor]): One stack of maps per scale.

        Returns:
            Tensor: Shape (n, S, M); :attr:`exists` tells which entries are prototypes.
        """
        picked = [self.regions.own(stack, table) for stack, table in zip(maps, self.table) if stack.shape[1]]
        places = [scale for scale, stack in enumerate(maps) if stack.shape[1]]
        out = picked[0].new_zeros(len(picked[0]), len(maps), self.table.shape[2])
        for scale, values in zip(places, picked):
            out[:, scale] = values
        return out

    @cached_property
    def exists(self) -> Tensor:
        """Tensor: Whether a region's class has an m-th prototype at a scale, shape (R, S, M), bool."""
        return (self.table >= 0).transpose(0, 1)[self.regions.classes]


@dataclass
class GroupEvidence(PrototypeEvidence):
    """Hold the evidence of stage 2: distances, and groups of prototypes.

    Letters: K groups per class, C' classes that have prototypes, n prototypes of a class (at most).

    Attributes:
        groups (Tensor): Rows on the simplex, 0 where there is no prototype, shape (C, K, n).
        members (Tensor): Index of the n prototypes of each class, -1 for none, shape (C, n), int64.
        proto_scale (Tensor): Scale of each prototype, shape (P,), int64.
        activations (Tensor): Of the groups, shape (B, C' * K, h, w), class after class.
        group_table (Tensor): Groups of each class among all, -1 for a class without, shape (C, K), int64.
    """
    groups: Tensor
    members: Tensor
    proto_scale: Tensor
    activations: Tensor
    group_table: Tensor

    @cached_property
    def populated(self) -> Tensor:
        """Tensor: Classes that have prototypes, shape (C,), bool."""
        return (self.members >= 0).any(1)

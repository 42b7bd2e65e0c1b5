"""One class of some episodes, matched by a head."""
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..affinities import Affinity
from ..features import FeaturePyramid
from .matching_head import MatchingHead


class MatchedWay:
    """Affinities between B queries and their supports of one class, and what the head makes of them, once.

    Args:
        head (MatchingHead): The head.
        query (FeaturePyramid): Features of B queries.
        encoding (Any): The head's encoding of B support sets.
    """

    def __init__(self, head: MatchingHead, query: FeaturePyramid, encoding: Any) -> None:
        self.head = head
        self.query = query
        self.encoding = encoding
        self.affinities: list[Affinity] = list(head.match(query, encoding))

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the features."""
        return self.query[0][0].dtype

    @cached_property
    def evidence(self) -> list[Tensor]:
        """Evidence of each layer."""
        return [self.head.aggregate(affinity, self.encoding) for affinity in self.affinities]

    def logits(self) -> Tensor:
        """The head's logits, (B, 2, h, w)."""
        return self.head.decode(self.evidence, self.query, self.encoding)

    def layer_effects(self, region: Tensor) -> Tensor:
        """Effects (B, L) of removing each layer on the prediction in a region (B, T_h, T_w)."""
        return self.head.layer_effects(self.evidence, self.query, self.encoding, region)

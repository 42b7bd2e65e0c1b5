"""The result of matching one class: affinities, evidence, logits and layer effects."""
from functools import cached_property
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

from ..affinities import Affinity
from ..features import FeaturePyramid


class MatchedWay:
    """Hold the affinities between B queries and their supports of one class, and compute evidence and logits from them.

    AffEx reads these. A model without a :class:`MatchingHead` returns objects with the same members from
    :meth:`BaseFewShotSegmentor.matched_ways`. The rows of an affinity may sum to less than 1 over the supports, where
    a query position also attends to its own image.

    Args:
        head (MatchingHead): The head.
        query (FeaturePyramid): Features of B queries.
        encoding (Any): The head's encoding of B support sets.
    """

    def __init__(self, head: BaseModule, query: FeaturePyramid, encoding: Any) -> None:
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
        """Compute the head's logits, (B, 2, h, w)."""
        return self.head.decode(self.evidence, self.query, self.encoding)

    def layer_effects(self, region: Tensor, ablation_reference: str = 'same_shot') -> Tensor:
        """Compute the effects (B, L) of removing each layer on the prediction in a region (B, T_h, T_w).

        Args:
            region (Tensor): Boolean, no episode's empty.
            ablation_reference (str): See :class:`~mmfss.explainers.affex.AffEx`.

        Raises:
            ValueError: If the head does not have this reference.
        """
        if ablation_reference not in self.head.ablation_references:
            raise ValueError(f'ablation_reference={ablation_reference!r} does not exist for a '
                             f'{type(self.head).__name__}, which has: {", ".join(self.head.ablation_references)}.')
        options = {} if ablation_reference == 'same_shot' else dict(ablation_reference=ablation_reference)
        return self.head.layer_effects(self.evidence, self.query, self.encoding, region, **options)

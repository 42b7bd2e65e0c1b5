"""Protocol of heads whose class maps are exact sums over support cells."""
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ..features import FeaturePyramid
from ..layers.class_prototypes import AttributionKind


@runtime_checkable
class AdditiveHead(Protocol):
    """Head that knows exactly what every support cell adds to its prediction, a reference for explainers."""

    def true_attribution(self, query: FeaturePyramid, encoding: Any, region: Tensor,
                         kind: AttributionKind = 'readout') -> list[Tensor]:
        """Attribute the mean of the class maps in a region to the support cells.

        Args:
            query (FeaturePyramid): Features of B queries.
            encoding (Any): The head's own encoding of B support sets of one class.
            region (Tensor): Boolean, or weights of the pixels, shape (B, H, W).
            kind (str): ``'readout'``: parts that sum to the maps; ``'removal'``: the effect of removing each cell.

        Returns:
            list[Tensor]: For each compared layer (B, 2, M, K, h, w): class 0 background, 1 foreground, M maps of a
            class.
        """

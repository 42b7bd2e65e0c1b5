"""The contract of matching heads that can say what each of their prototypes said."""
from typing import Any, Protocol, runtime_checkable

from ..features import FeaturePyramid
from ..layers.prototype_reading import PrototypeReading


@runtime_checkable
class PrototypeReader(Protocol):
    """Head that segments with prototypes of support cells, and can decompose its predictions.

    Explainers ask for this, not for a class of heads: a head of one's own that has :meth:`read` is explained too.
    """

    def read(self, query: FeaturePyramid, encoding: Any) -> PrototypeReading:
        """Decompose a prediction.

        Args:
            query (FeaturePyramid): Features of B queries.
            encoding (Any): The head's own encoding of B support sets of one class.

        Returns:
            PrototypeReading: What each prototype and group said of the query, and where it comes from.
        """

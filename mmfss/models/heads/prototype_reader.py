"""Protocol of matching heads that can decompose a prediction into prototypes."""
from typing import Any, Protocol, runtime_checkable

from ..features import FeaturePyramid
from ..layers.prototype_reading import PrototypeReading


@runtime_checkable
class PrototypeReader(Protocol):
    """Head that segments with prototypes of support cells, and can decompose its predictions.

    Explainers check for this protocol, so that any head with :meth:`read` is explained.
    """

    def read(self, query: FeaturePyramid, encoding: Any) -> PrototypeReading:
        """Decompose a prediction.

        Args:
            query (FeaturePyramid): Features of B queries.
            encoding (Any): The head's own encoding of B support sets of one class.

        Returns:
            PrototypeReading: Similarities and activations of each prototype and group, with their support cells.
        """

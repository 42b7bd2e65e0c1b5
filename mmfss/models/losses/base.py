"""Base class of the losses of prototype heads."""
from abc import ABCMeta, abstractmethod
from typing import Optional

from torch import Tensor, nn

from .evidence import PrototypeEvidence


class PrototypeLoss(nn.Module, metaclass=ABCMeta):
    """Compute a loss term of prototypes, groups or last layer.

    Args:
        loss_weight (float): Factor. A term of weight 0 is not computed.
        loss_name (str, optional): Name in the log; terms whose name begins with ``loss`` are minimized.

    Raises:
        ValueError: If the weight is negative.
    """

    default_name: str

    def __init__(self, loss_weight: float = 1.0, loss_name: Optional[str] = None) -> None:
        super().__init__()
        if loss_weight < 0:
            raise ValueError(f'{type(self).__name__}: loss_weight must be 0 or more, got {loss_weight}.')
        self.loss_weight = loss_weight
        self.loss_name = loss_name or self.default_name

    def forward(self, evidence: PrototypeEvidence) -> Tensor:
        """Compute the weighted term, a scalar."""
        return self.loss_weight * self.value(evidence)

    @abstractmethod
    def value(self, evidence: PrototypeEvidence) -> Tensor:
        """Compute the unweighted term, a scalar."""


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average the values where the mask is true; 0 if it is true nowhere.

    Args:
        values (Tensor): Any shape; NaN and infinities outside the mask do no harm.
        mask (Tensor): Bool, broadcastable to ``values``.
    """
    mask = mask.expand_as(values)
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)

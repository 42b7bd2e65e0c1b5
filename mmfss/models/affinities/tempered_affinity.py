"""Affinity with scores divided by a temperature."""
from torch import Tensor

from .affinity import Affinity


class TemperedAffinity(Affinity):
    """Divide the scores of another affinity by a temperature.

    Cosines lie between -1 and 1, so that their softmax over thousands of support positions is almost flat. A
    temperature below 1 sharpens it.

    Args:
        affinity (Affinity): The affinity.
        temperature (float): Above 0.

    Raises:
        ValueError: If the temperature is not above 0.

    Example:
        >>> import torch
        >>> from mmfss.models.affinities import CosineAffinity, TemperedAffinity
        >>> query, key = (torch.nn.functional.normalize(torch.rand(1, n, 8), dim=-1) for n in (6, 10))
        >>> affinity = CosineAffinity(query, key, query_size=(2, 3), support_size=(2, 1, 5))
        >>> torch.allclose(TemperedAffinity(affinity, 0.1).dense(), 10 * affinity.dense())
        True
    """

    def __init__(self, affinity: Affinity, temperature: float) -> None:
        if not temperature > 0:
            raise ValueError(f'temperature must be above 0, got {temperature}.')
        super().__init__(affinity.query_size, affinity.support_size)
        self.layer = affinity.layer
        self.affinity = affinity
        self.temperature = temperature

    def scores(self, start: int, stop: int) -> Tensor:
        return self.affinity.scores(start, stop) / self.temperature

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

"""Storage of the maps of one item under consecutive numbers."""
from dataclasses import dataclass, field
from typing import Hashable

import numpy as np
import torch
from torch import Tensor


@dataclass
class MapStore:
    """Store maps of one grid once each; nodes of a record refer to them by number."""
    maps: list[Tensor] = field(default_factory=list)
    numbers: dict[Hashable, int] = field(default_factory=dict)

    def add(self, key: Hashable, values: Tensor) -> int:
        """Return the number of a map (h, w), and store it if it is new."""
        if key not in self.numbers:
            self.numbers[key] = len(self.maps)
            self.maps.append(values)
        return self.numbers[key]

    def array(self, dtype: str) -> np.ndarray:
        """Stack all maps, shape (n, h, w)."""
        if not self.maps:
            return np.zeros((0, 1, 1), dtype)
        return torch.stack(self.maps).cpu().numpy().astype(dtype)

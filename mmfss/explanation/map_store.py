"""Store maps of one run item under consecutive numbers."""
from dataclasses import dataclass, field
from typing import Hashable

import numpy as np
import torch
from torch import Tensor


@dataclass
class MapStore:
    """Maps of one grid that nodes of a record refer to by number, each kept once."""
    maps: list[Tensor] = field(default_factory=list)
    numbers: dict[Hashable, int] = field(default_factory=dict)

    def add(self, key: Hashable, values: Tensor) -> int:
        """Number of a map (h, w)."""
        if key not in self.numbers:
            self.numbers[key] = len(self.maps)
            self.maps.append(values)
        return self.numbers[key]

    def array(self, dtype: str) -> np.ndarray:
        """All maps, shape (n, h, w)."""
        if not self.maps:
            return np.zeros((0, 1, 1), dtype)
        return torch.stack(self.maps).cpu().numpy().astype(dtype)

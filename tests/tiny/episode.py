"""An episode of drawn images."""
from typing import Optional

import torch

from mmfss.structures import Episode
from tests.references.seeded import seeded_image, seeded_mask


def draw_episode(ways: int = 1,
                 shots: int = 1,
                 size: tuple[int, int] = (48, 64),
                 support_size: Optional[tuple[int, int]] = None,
                 name: str = 'episode') -> Episode:
    """Smooth images, masks of one ellipse, and a query with an object of each class."""
    support_size = support_size or size
    target = torch.zeros(size, dtype=torch.int64)
    for way in range(ways):
        target[torch.from_numpy(seeded_mask(f'{name}/target{way}', size)) > 0] = way + 1
    return Episode(
        torch.from_numpy(seeded_image(f'{name}/query', (3, *size))),
        torch.from_numpy(seeded_image(f'{name}/support', (ways, shots, 3, *support_size))),
        torch.from_numpy(seeded_mask(f'{name}/masks', (ways, shots, *support_size))), target)

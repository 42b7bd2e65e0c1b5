"""The order in which a training run asks for its data."""
from itertools import count
from typing import Iterator, Optional, Sized

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmfss.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpisodeStreamSampler(Sampler):
    """An endless stream of data set indices that can start anywhere.

    The index at position ``p`` of the stream is a pure function of the seed and ``p``, and rank ``r`` of ``w`` processes
    reads the positions ``r, r + w, r + 2w, ...``. So the batches of one iteration hold the same episodes whatever the
    number of processes (for the same total batch size), and a resumed run jumps to its position without loading what it
    has already seen.

    Args:
        dataset (Sized): The data set.
        shuffle (bool): Whether every pass over the data set has its own random order. If not, the order is that of the
            data set.
        endless (bool): Whether position ``p`` is handed on as index ``p`` without bound, for a data set whose episodes
            are drawn for any index. No episode is then repeated; ``shuffle`` has no effect.
        seed (int, optional): Seed of the orders, 0 or more. None: drawn at random and shared by all processes.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, endless: bool = False, seed: Optional[int] = None) -> None:
        if len(dataset) == 0:
            raise ValueError(f'{type(dataset).__name__} is empty: there is nothing to train on.')
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.endless = endless
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0

    def start_at(self, num_samples: int, seed: Optional[int] = None) -> None:
        """Let the next iterator begin behind the samples that this process has used.

        Args:
            num_samples (int): Number of samples of this process so far.
            seed (int, optional): The seed those samples were drawn with, if it is not the present one.
        """
        self.start = num_samples
        self.seed = self.seed if seed is None else seed

    def __iter__(self) -> Iterator[int]:
        """Yield the data set indices of this process, without end."""
        current_pass, order = -1, None
        for position in count(self.start * self.world_size + self.rank, self.world_size):
            if self.endless:
                yield position
                continue
            number, offset = divmod(position, self.size)
            if number != current_pass:
                current_pass, order = number, self._order(number)
            yield offset if order is None else int(order[offset])

    def _order(self, number: int) -> Optional[torch.Tensor]:
        if not self.shuffle:
            return None
        # Neighbouring seeds and passes must not share an order, hence the mixing by a large odd number.
        generator = torch.Generator().manual_seed((self.seed * 0x9E3779B97F4A7C15 + number) % 2**63)
        return torch.randperm(self.size, generator=generator)

    def __len__(self) -> int:
        """int: Length of one pass over the data set, of all processes together."""
        return self.size

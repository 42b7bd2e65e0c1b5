"""Sampler of an endless stream of episode indices for training."""
from typing import Iterator, Optional, Sized

from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmfss.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpisodeStream(Sampler):
    """Yield the indices 0, 1, 2, ... without end, distributed to the processes in turn.

    For iteration-based training on episodes that are a function of their index (:class:`UniformEpisodeSampler`):
    nothing repeats, nothing is held in memory, and the k-th batch over all processes holds the same episodes for any
    number of them.

    Args:
        dataset (Sized): The dataset; its length is one epoch.
        seed (int, optional): Not used, the episodes have their own seed.
        start (int): First index, over all processes: batches already seen x batch size x processes.

    Example:
        >>> from itertools import islice
        >>> from mmfss.datasets import EpisodeStream
        >>> list(islice(EpisodeStream(dataset=range(3), start=5), 4))  # of a resumed run, in one process
        [5, 6, 7, 8]
    """

    def __init__(self, dataset: Sized, seed: Optional[int] = None, start: int = 0) -> None:
        if start < 0:
            raise ValueError(f'start must be 0 or more, got {start}.')
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.start = start

    def __iter__(self) -> Iterator[int]:
        index = self.start + self.rank
        while True:
            yield index
            index += self.world_size

    def __len__(self) -> int:
        """Episodes of an epoch, over all processes."""
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the stream continues through all epochs."""

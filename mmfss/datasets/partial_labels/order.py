"""Order of images with and without a mask, for batches of both."""
import math
from typing import Sequence

import numpy as np

from ..samplers.base import counter_rng, pass_order


class SeededOrder:
    """Give each batch the same share of images with a mask; a function of seed and index.

    Each sort is passed through in random order, again and again. The share is exact over every run of batches.

    Args:
        masked (Sequence[int]): Images with a mask.
        unmasked (Sequence[int]): Images without; either may be empty.
        batch_size (int): Images of a batch, over all processes.
        share (float): Of images with a mask, 0 to 1.
        seed (int): Seed.
    """

    def __init__(self, masked: Sequence[int], unmasked: Sequence[int], batch_size: int, share: float = 0.5,
                 seed: int = 0) -> None:
        self.sorts = masked, unmasked
        self.batch_size, self.seed = batch_size, seed
        self.share = 0. if not len(masked) else 1. if not len(unmasked) else share

    def __getitem__(self, index: int) -> int:
        """Return the image at a place of the endless stream."""
        batch, place = divmod(index, self.batch_size)
        before, after = (math.floor(number * self.batch_size * self.share + 1e-9) for number in (batch, batch + 1))
        place = int(counter_rng(self.seed, 2, batch).permutation(self.batch_size)[place])
        if place < after - before:
            return self._draw(0, before + place)
        return self._draw(1, batch * self.batch_size - before + place - (after - before))

    def _draw(self, sort: int, position: int) -> int:
        images = self.sorts[sort]
        number, place = divmod(position, len(images))
        # Passes of the two sorts are numbered apart.
        return int(images[pass_order(self.seed, 2 * number + sort, len(images))[place]])


class ReleaseOrder:
    """Compose batches as the official implementation: a function of seed and index, found by replaying its epochs.

    Half of each batch, plus or minus one half, has a mask; both sorts start anew with every epoch. An epoch is replayed
    once; the ones before it are replayed first, in about 0.1 s each for VOC 2012.

    Args:
        masked (Sequence[int]): Images with a mask.
        unmasked (Sequence[int]): Images without.
        batch_size (int): Images of a batch, over all processes.
        size (int): Images of an epoch; it has ceil(size / batch_size) batches.
        seed (int): Seed of the run.
        share (float): Of images with a mask.
        jitter (float): Width of the range of their number.

    Raises:
        ValueError: If one of the sorts is empty.
    """

    def __init__(self, masked: Sequence[int], unmasked: Sequence[int], batch_size: int, size: int, seed: int = 0,
                 share: float = 0.5, jitter: float = 1.0) -> None:
        if not len(masked) or not len(unmasked):
            raise ValueError(f"order='release' needs images with and without a mask, got {len(masked)} and "
                             f"{len(unmasked)}. Use order='seeded'.")
        self.masked, self.unmasked = masked, unmasked
        self.batch_size, self.seed, self.share, self.jitter = batch_size, seed, share, jitter
        self.num_batches = math.ceil(size / batch_size)
        self._restart()

    def __getitem__(self, index: int) -> int:
        """Return the image at a place of the endless stream."""
        epoch, place = divmod(index, self.num_batches * self.batch_size)
        return int(self.epoch(epoch)[place])

    def epoch(self, number: int) -> np.ndarray:
        """Return the images of an epoch, from 0, in order."""
        if number < self._number:
            self._restart()
        while self._number < number:
            self._images, self._number = self._next_epoch(), self._number + 1
        return self._images

    def _restart(self) -> None:
        self._rng, self._number = np.random.RandomState(self.seed), -1
        self._pools = [np.array(self.masked), np.array(self.unmasked)]

    def _next_epoch(self) -> np.ndarray:
        rng, pools, counters, batches = self._rng, self._pools, [0, 0], []
        for _ in range(self.num_batches):
            masked = round(self.share * self.batch_size + self.jitter * (rng.rand() - 0.5))
            batch = []
            for place in range(self.batch_size):
                # A pool is shuffled at every place until its first image is taken.
                for sort in (0, 1):
                    if counters[sort] == 0:
                        pools[sort] = rng.permutation(pools[sort])
                sort = int(place >= masked)
                batch.append(pools[sort][counters[sort]])
                counters[sort] = (counters[sort] + 1) % len(pools[sort])
            batches.append(rng.permutation(batch))
        return np.concatenate(batches)

"""Training episodes of several datasets, mixed."""
from typing import Any, Dict, Iterator, Optional, Sequence, Union

import numpy as np
from torch.utils.data import Dataset

from mmfss.registry import DATASETS
from .episodic_dataset import EpisodicDataset
from .samplers import Episode
from .samplers.base import counter_rng


@DATASETS.register_module()
class EpisodeMixture(Dataset):
    """Draw every episode from one of several datasets, for training on all of them together.

    Episode i is a pure function of the seed and i, like those of the datasets: it is episode i of the dataset that a
    random source keyed by (seed, i) chooses. The length is the sum of the datasets' lengths; any index can be asked for
    where their samplers allow it.

    Args:
        datasets (Sequence[dict | EpisodicDataset]): The datasets, with the same numbers of ways and shots.
        weights (Sequence[float], optional): How often each is chosen, relative to the others. Defaults to the numbers
            of their images, a choice of this package: how DiffewS mixed its datasets is not published.
        seed (int): Seed of the choice.

    Raises:
        ValueError: If there is no dataset, weights do not fit, or ways or shots differ.

    Example:
        >>> from mmfss.datasets import EpisodeMixture
        >>> EpisodeMixture([])
        Traceback (most recent call last):
        ValueError: An EpisodeMixture needs at least one dataset.
    """

    def __init__(self,
                 datasets: Sequence[Union[Dict[str, Any], EpisodicDataset]],
                 weights: Optional[Sequence[float]] = None,
                 seed: int = 0) -> None:
        if not datasets:
            raise ValueError('An EpisodeMixture needs at least one dataset.')
        self.datasets = [DATASETS.build(part) if isinstance(part, dict) else part for part in datasets]
        metas = [part.metainfo for part in self.datasets]
        kinds = {(meta['num_ways'], meta['num_shots']) for meta in metas}
        if len(kinds) > 1:
            raise ValueError('The datasets of an EpisodeMixture must have the same numbers of ways and shots, got '
                             f'{sorted(kinds)}.')
        if weights is None:
            weights = [part.lists.num_images for part in self.datasets]
        if len(weights) != len(self.datasets) or min(weights) <= 0:
            raise ValueError(f'An EpisodeMixture of {len(self.datasets)} datasets needs as many weights above 0, got '
                             f'{list(weights)}.')
        self.weights = np.asarray(weights, float) / np.sum(weights)
        self.seed = seed

    @property
    def metainfo(self) -> Dict[str, Any]:
        """Metainfo for logs, see the keys."""
        metas = [part.metainfo for part in self.datasets]
        return dict(
            dataset_name=' + '.join(meta['dataset_name'] for meta in metas),
            weights=self.weights.tolist(),
            parts=metas,
            num_ways=metas[0]['num_ways'],
            num_shots=metas[0]['num_shots'],
            num_episodes=len(self))

    def full_init(self) -> None:
        """Do nothing: images are read on access."""

    def __len__(self) -> int:
        return sum(map(len, self.datasets))

    def choose(self, index: int) -> int:
        """Return the number of the dataset that episode ``index`` comes from."""
        place = np.searchsorted(np.cumsum(self.weights), counter_rng(self.seed, index).random_sample(), side='right')
        return min(int(place), len(self.datasets) - 1)

    def episode(self, index: int) -> Episode:
        """Return the names of classes and images of an episode; reads no image."""
        return self.datasets[self.choose(index)].episode(index)

    def __iter__(self) -> Iterator[Dict]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Dict:
        return self.datasets[self.choose(int(index))][int(index)]

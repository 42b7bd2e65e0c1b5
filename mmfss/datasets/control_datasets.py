"""Control: episodes whose supports show another class."""
from typing import Any, Dict, Iterator, Union

from torch.utils.data import Dataset

from mmfss.registry import DATASETS
from .episodic_dataset import EpisodicDataset, bad_file_advice, seeded_random
from .samplers import Episode
from .samplers.base import counter_rng


@DATASETS.register_module()
class WrongSupportDataset(Dataset):
    """Replace the supports of a dataset's episodes by supports of another class of the same fold.

    Query, its mask and its classes stay, so a metric compares with the same truth; a model that looks at its supports
    must fall far below its figure on the wrapped dataset. The supports of episode i are those of another episode of
    the dataset, drawn by a random source keyed by (seed, i), among the episodes in which every way has another class
    and no support is the query.

    Args:
        dataset (dict | EpisodicDataset): The wrapped dataset.
        seed (int): Seed of the choice.
    """

    def __init__(self, dataset: Union[Dict[str, Any], EpisodicDataset], seed: int = 0) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.seed = seed

    @property
    def metainfo(self) -> Dict[str, Any]:
        """Metainfo of the wrapped dataset."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Do nothing: images are read on access."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Dict]:
        return (self[index] for index in range(len(self)))

    def donor(self, index: int) -> int:
        """Return the index of the episode that lends its supports to episode ``index``.

        Raises:
            ValueError: If no episode of the dataset has other classes.
        """
        episode = self.dataset.episode(index)
        for other in counter_rng(self.seed, index).permutation(len(self)):
            if self._differs(episode, self.dataset.episode(int(other))):
                return int(other)
        raise ValueError(f'Episode {index} asks for the classes {list(episode.class_ids)}, and no other episode of the '
                         'dataset could lend supports of other classes: use more episodes, or a fold with more '
                         'classes.')

    @staticmethod
    def _differs(episode: Episode, other: Episode) -> bool:
        same_class = any(a == b for a, b in zip(episode.class_ids, other.class_ids))
        return not same_class and all(episode.query not in group for group in other.supports)

    def __getitem__(self, index: int) -> Dict:
        index = int(index)
        info = self.dataset.get_data_info(index)
        info['support'] = self.dataset.get_data_info(self.donor(index))['support']
        with seeded_random(self.dataset.sampler.seed, index), bad_file_advice():
            return self.dataset.pipeline(info)

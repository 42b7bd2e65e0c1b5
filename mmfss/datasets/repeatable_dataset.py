"""Wrapper that makes any dataset an endless, reproducible stream."""
from typing import Any, Dict

from torch.utils.data import Dataset

from mmfss.registry import DATASETS
from .episodic_dataset import seeded_random
from .samplers.base import pass_order


@DATASETS.register_module()
class RepeatableDataset(Dataset):
    """Make the i-th training sample of an MMSegmentation dataset a pure function of (seed, i).

    Index i may grow beyond the number of images: every pass over them is in a new random order, and random transforms
    draw anew. With the sampler :class:`EpisodeStream` and :class:`mmfss.engine.EpisodeTrainLoop` a training run sees
    the same samples for any number of workers and processes, and a resumed run continues where it stopped.

    Args:
        dataset (dict | Dataset): The dataset, with its pipeline.
        seed (int): Seed of order and transforms.
    """

    def __init__(self, dataset: Any, seed: int = 0) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.seed = seed

    @property
    def metainfo(self) -> Dict[str, Any]:
        """Metainfo of the dataset."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the list of images."""
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Dict:
        number, place = divmod(int(index), len(self))
        with seeded_random(self.seed, int(index)):
            return self.dataset[int(pass_order(self.seed, number, len(self))[place])]

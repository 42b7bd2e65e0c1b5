"""The training classes of a fold as an ordinary segmentation dataset."""
from typing import Any, Dict, Sequence, Union

from mmcv.transforms import Compose
from torch.utils.data import Dataset

from mmfss.registry import DATASETS, TRANSFORMS
from .class_indices import IGNORE
from .episodic_dataset import EpisodicDataset, bad_file_advice, seeded_random
from .samplers.base import pass_order


@DATASETS.register_module()
class BaseClassDataset(Dataset):
    """Yield the training images of an episodic dataset with the labels of all its training classes.

    For MMSegmentation's own segmentors, e.g. to train a backbone on the training classes alone before the few-shot
    training. Labels: 0 background (tested classes too, where the images show them), i the i-th training class, 255
    ignored.

    Item i is a pure function of (seed, i) and i may grow beyond the number of images: every pass over them is in a new
    random order, with new random transforms.

    Args:
        dataset (dict | EpisodicDataset): The episodic dataset, with ``split='train'``; its pipeline is not used.
        pipeline (Sequence[dict]): Transforms of an image, ending in ``PackSegInputs``.
        seed (int): Seed of order and transforms.

    Raises:
        ValueError: If the dataset is not a training split, or has more classes than labels of 8 bits.
    """

    def __init__(self,
                 dataset: Union[Dict[str, Any], EpisodicDataset],
                 pipeline: Sequence[Dict],
                 seed: int = 0) -> None:
        self.dataset = DATASETS.build({**dataset, 'pipeline': []}) if isinstance(dataset, dict) else dataset
        if self.dataset.split != 'train':
            raise ValueError(
                f"BaseClassDataset shows training classes; give it split='train', not {self.dataset.split!r}.")
        if len(self.dataset.class_ids) >= IGNORE:
            raise ValueError(f'{len(self.dataset.class_ids)} training classes do not fit into labels of 8 bits: at '
                             f'most {IGNORE - 1} do. Choose some with class_ids.')
        self.pipeline = Compose([TRANSFORMS.build(step) for step in pipeline])
        self.seed = seed

    @property
    def metainfo(self) -> Dict[str, Any]:
        """``classes``: background and the training classes."""
        index = self.dataset.index
        return dict(classes=('background', *(index.classes[class_id] for class_id in self.dataset.class_ids)))

    def full_init(self) -> None:
        """Do nothing: images are read on access."""

    def __len__(self) -> int:
        return self.dataset.lists.num_images

    def __getitem__(self, index: int) -> Dict:
        number, place = divmod(int(index), len(self))
        name = self.dataset.lists.name(pass_order(self.seed, number, len(self))[place])
        info = self.dataset.image_info(name, self.dataset.class_ids, 'query')
        with seeded_random(self.seed, int(index)), bad_file_advice():
            return self.pipeline(info)

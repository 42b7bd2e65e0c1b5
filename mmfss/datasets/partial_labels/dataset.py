"""Wrapper that hides the masks of most images of a dataset, and composes batches of both sorts."""
from pathlib import Path
from typing import Any, Optional, Sequence

import mmcv
import numpy as np
from torch.utils.data import Dataset

from mmfss.registry import DATASETS
from mmfss.utils.config_options import ConfigError
from ..episodic_dataset import seeded_random
from .choice import choose_masked
from .image_labels import labels_of_map, read_image_labels
from .order import ReleaseOrder, SeededOrder

ORDERS = ('seeded', 'release')


@DATASETS.register_module()
class PartialLabelDataset(Dataset):
    """Train on few masks and many image-level labels: an endless stream, a function of (seed, i).

    Image-level labels come from the wrapped dataset (``image_labels`` of its entries), else from a file, else from the
    masks. Entries get ``has_mask`` and ``image_labels``, for :class:`LoadPartialAnnotations` and
    :class:`PackPartialLabels`.

    Args:
        dataset (dict): An MMSegmentation dataset, with its pipeline.
        num_masks (int, optional): Images that keep their mask, chosen by :func:`choose_masked`. All by default.
        mask_share (float, optional): The same as a share of the images with a mask, above 0 to 1.
        uniform (float): How even the classes of the chosen images are; published: 1.0 for 20 and 100 masks, 0.5 for
            500, 0.0 for all.
        choice_seed (int): Seed of the choice, apart from that of the run.
        image_labels (str, optional): A CSV or JSON file, see :func:`read_image_labels`.
        batch_size (int): Images of a batch of all processes.
        labelled_share (float): Share of images with a mask in a batch; 1 uses no other.
        order (str): ``'seeded'``, or ``'release'`` to compose epochs as the official implementation, see
            :class:`ReleaseOrder`.
        seed (int): Seed of order and transforms.

    Raises:
        ConfigError: If an argument is wrong, or there are fewer masks than asked for.
        FileNotFoundError: If an image has neither labels nor a mask; names it.
    """

    def __init__(self,
                 dataset: dict,
                 num_masks: Optional[int] = None,
                 mask_share: Optional[float] = None,
                 uniform: float = 0.0,
                 choice_seed: int = 0,
                 image_labels: Optional[str] = None,
                 batch_size: int = 10,
                 labelled_share: float = 0.5,
                 order: str = 'seeded',
                 seed: int = 0) -> None:
        for name, value in (('uniform', uniform), ('labelled_share', labelled_share), ('mask_share', mask_share or 0.)):
            if not 0 <= value <= 1:
                raise ConfigError(f'{type(self).__name__}.{name} must be from 0 to 1, got {value}.')
        if order not in ORDERS:
            raise ConfigError(f'{type(self).__name__}.order must be one of {", ".join(ORDERS)}, got {order!r}.')
        if num_masks is not None and mask_share is not None:
            raise ConfigError('Set num_masks or mask_share, not both.')
        if num_masks is not None and num_masks < 1 or mask_share == 0 or batch_size < 1:
            raise ConfigError('num_masks and batch_size must be 1 or more, mask_share above 0; got '
                              f'{num_masks}, {batch_size} and {mask_share}.')
        # Entries are changed below, which their serialized form does not allow.
        self.dataset = DATASETS.build(dict(dataset, serialize_data=False))
        self.dataset.full_init()
        self.seed, self.batch_size = seed, batch_size
        entries = self.dataset.data_list
        with_mask = [i for i, entry in enumerate(entries) if _has_mask(entry)]
        self._set_labels(entries, image_labels)
        number = round(mask_share * len(with_mask)) or 1 if mask_share is not None else num_masks
        self.masked = self._choose(entries, with_mask, number, uniform, choice_seed)
        kept = set(self.masked)
        unmasked = [i for i in range(len(entries)) if i not in kept]
        for i, entry in enumerate(entries):
            entry['has_mask'] = i in kept
        if order == 'release':
            self.order = ReleaseOrder(self.masked, unmasked, batch_size, len(entries), seed, labelled_share)
        else:
            self.order = SeededOrder(self.masked, unmasked, batch_size, labelled_share, seed)

    @property
    def metainfo(self) -> dict[str, Any]:
        """Metainfo of the dataset."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Do nothing: the list of images is read."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        with seeded_random(self.seed, int(index)):
            return self.dataset[self.order[int(index)]]

    def _set_labels(self, entries: Sequence[dict], image_labels: Optional[str]) -> None:
        """Complete ``image_labels`` of all entries."""
        classes = self.metainfo['classes']
        known = read_image_labels(image_labels, classes) if image_labels else {}
        for entry in entries:
            stem = Path(entry['img_path']).stem
            if stem in known:
                entry['image_labels'] = known[stem]
            if entry.get('image_labels') is not None:
                continue
            path = entry.get('seg_map_path')
            if path is None or not Path(path).is_file():
                raise FileNotFoundError(
                    f'The image "{entry["img_path"]}" has neither image-level labels nor a mask. Name its classes in '
                    f'the file of `image_labels` ({image_labels or "not set"}).')
            mask = mmcv.imread(path, flag='unchanged', backend='pillow')
            for old, new in (entry.get('label_map') or {}).items():
                mask = np.where(mask == old, new, mask)
            entry['image_labels'] = labels_of_map(mask, len(classes))

    def _choose(self, entries: Sequence[dict], with_mask: Sequence[int], number: Optional[int], uniform: float,
                seed: int) -> list[int]:
        if number is None or number == len(with_mask):
            return list(with_mask)
        if number > len(with_mask):
            raise ConfigError(f'{number} masks were asked for (num_masks), but only {len(with_mask)} of the '
                              f'{len(entries)} images of {type(self.dataset).__name__} have one.')
        labels = np.zeros((len(with_mask), len(self.metainfo['classes'])), np.int64)
        for row, index in enumerate(with_mask):
            labels[row, list(entries[index]['image_labels'])] = 1
        return [with_mask[row] for row in choose_masked(labels[:, 1:], number, uniform, seed)]


def _has_mask(entry: dict) -> bool:
    """Datasets that make their label maps themselves have no ``seg_map_path``; all of theirs are there."""
    return 'seg_map_path' not in entry or bool(entry['seg_map_path'] and Path(entry['seg_map_path']).is_file())


"""LVIS-92i: a test on ten folds of many rare classes."""
from functools import cached_property
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from mmfss.registry import DATASETS, TASK_UTILS
from .class_lists import ClassLists
from .episodic_dataset import EpisodicDataset
from .folds import fold_classes, resolve_classes
from .samplers import PublishedProtocolSampler

NUM_FOLDS = 10


@DATASETS.register_module()
class LVIS92iDataset(EpisodicDataset):
    """Draw episodes of LVIS-92i: ten folds of the categories of LVIS v1, for tests alone.

    .. code-block:: none

        data
        └── lvis                       data_root
            ├── lvis_v1_val.json       ann_file
            ├── train2017/*.jpg        images of COCO 2017; those of LVIS's validation part lie in both folders
            └── val2017/*.jpg

    Of the categories, ascending by id, those with more than K validation images remain, K the number of supports. With
    n of them, fold f tests the categories f + 10 v for v < n // 10. Query and supports are validation images, a mask is
    the union of all instances of the category; the smallest object counts.

    The rules are those of the published benchmark (Liu et al., "Matcher", ICLR 2024). Its list files were not at hand:
    the lists here are built from the annotations, and the order of random draws is this package's own, see
    :class:`LVIS92iSampler`. Results therefore compare with each other, and only roughly with published ones; reports
    say so.

    Args:
        data_root (str): Folder of images and annotations.
        split (str): ``'val'`` or ``'test'`` (the same).
        fold (int, optional): 0..9; None takes the categories of all folds.
        ann_file (str): The annotations, below the root.
        sampler (dict, optional): A :class:`LVIS92iSampler` by default.
        **kwargs: See :class:`EpisodicDataset`.

    Raises:
        ValueError: If the split is ``'train'``, or fewer than ten categories have enough images.
    """

    def __init__(self,
                 data_root: str,
                 pipeline: Sequence[Dict],
                 split: str = 'test',
                 fold: Optional[int] = 0,
                 ann_file: str = 'lvis_v1_val.json',
                 num_shots: int = 1,
                 sampler: Optional[Dict] = None,
                 dataset_name: str = 'LVIS-92i',
                 **kwargs: Any) -> None:
        if split == 'train':
            raise ValueError('LVIS-92i is a test of models that were trained elsewhere: it has no split "train".')
        self._num_shots = num_shots
        super().__init__(
            dict(type='CocoInstanceIndex', data_root=data_root, ann_file=ann_file, img_dir='val2017'),
            pipeline,
            split,
            fold,
            num_shots=num_shots,
            sampler=sampler or dict(type='LVIS92iSampler'),
            dataset_name=dataset_name,
            **kwargs)

    @cached_property
    def _all_lists(self) -> ClassLists:
        return self.index.build_lists(min_pixels=1)

    def _classes_of_split(self, folds: Any, class_ids: Optional[Sequence[Union[int, str]]]) -> Tuple[int, ...]:
        if class_ids is not None:
            return resolve_classes(class_ids, self.index.classes)
        return fold_classes(lvis_folds(self._all_lists, self._num_shots), self.fold, self.classes_of)

    def _load_lists(self, list_files: Optional[Union[str, Sequence[str]]], min_pixels: int) -> ClassLists:
        if list_files is not None:
            return super()._load_lists(list_files, min_pixels)
        return self._all_lists.select(self.class_ids)


def lvis_folds(lists: ClassLists, num_shots: int) -> List[Tuple[int, ...]]:
    """Divide the classes with more than ``num_shots`` images into ten folds of equal size; a rest is left out.

    Args:
        lists (ClassLists): Images of each class; class ids ascend like the category ids.
        num_shots (int): K.

    Raises:
        ValueError: If fewer than ten classes remain.

    Example:
        >>> from mmfss.datasets import ClassLists
        >>> from mmfss.datasets.lvis_dataset import lvis_folds
        >>> lists = ClassLists.from_dict({number: ['a.jpg', 'b.jpg'] for number in range(25)})
        >>> lvis_folds(lists, num_shots=1)[3]
        (3, 13)
    """
    kept = [class_id for class_id in np.unique(lists.class_ids).tolist() if len(lists.pool(class_id)) > num_shots]
    if len(kept) < NUM_FOLDS:
        raise ValueError(f'LVIS-92i has {NUM_FOLDS} folds, but only {len(kept)} categories have the more than '
                         f'{num_shots} images that {num_shots}-shot episodes need.')
    size = len(kept) // NUM_FOLDS
    return [tuple(kept[fold + NUM_FOLDS * place] for place in range(size)) for fold in range(NUM_FOLDS)]


@TASK_UTILS.register_module()
class LVIS92iSampler(PublishedProtocolSampler):
    """Draw the episodes of LVIS-92i: the classes of the fold in turn, 2,300 episodes by default.

    Query and supports come from one random stream of NumPy's legacy generator, drawn without replacement: first the
    query, then supports until K other images are found. This order is the package's own.

    Args:
        num_episodes (int, optional): Number of episodes.
        **kwargs: See :class:`EpisodeSampler`. A class needs K + 1 images.
    """

    def __init__(self, *args: Any, num_episodes: Optional[int] = None, **kwargs: Any) -> None:
        super().__init__(*args, benchmark='cross_domain', num_episodes=num_episodes, **kwargs)

    @property
    def published_lengths(self) -> Tuple[int, ...]:
        """Number of episodes of the benchmark."""
        return (2300, )

    @property
    def min_images(self) -> int:
        """The query and K supports."""
        return self.num_shots + 1

    def _draw_supports(self, pool: np.ndarray, query: int, rng: np.random.RandomState) -> List[int]:
        """Draw K different images other than the query."""
        others = pool[pool != query]
        return rng.permutation(others)[:self.num_shots].tolist()

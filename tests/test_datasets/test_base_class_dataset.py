"""Training classes as an ordinary segmentation dataset."""
from pathlib import Path

import numpy as np
import pytest

from mmfss.datasets import BaseClassDataset
from tests.tiny.data import write_class_folders

PIPELINE = [dict(type='LoadEpisodeImage'), dict(type='LoadClassMask'), dict(type='mmseg.RandomFlip', prob=0.5),
            dict(type='mmseg.PackSegInputs', meta_keys=('img_path', ))]


@pytest.fixture
def dataset(tmp_path: Path) -> BaseClassDataset:
    root = write_class_folders(tmp_path, ('ant', 'bee', 'cat', 'dog'))
    return BaseClassDataset(
        dict(type='ImageFolderDataset', data_root=str(root), split='train', fold=1, num_folds=4), PIPELINE)


def test_shows_training_classes_only(dataset: BaseClassDataset) -> None:
    assert dataset.metainfo['classes'] == ('background', 'ant', 'cat', 'dog')
    assert len(dataset) == 12
    for i in range(12):
        sample = dataset[i]['data_samples']
        class_name = Path(sample.img_path).parts[-3]
        label = dataset.metainfo['classes'].index(class_name)
        assert set(np.unique(sample.gt_sem_seg.data)) == {0, label}


def test_every_pass_has_each_image_once_in_its_own_order(dataset: BaseClassDataset) -> None:
    first, second = ([dataset[i]['data_samples'].img_path for i in range(start, start + 12)] for start in (0, 12))
    assert sorted(first) == sorted(set(first)) == sorted(second)
    assert first != second


def test_items_do_not_depend_on_the_order_of_access(dataset: BaseClassDataset) -> None:
    late = dataset[30]['inputs']
    dataset[2]
    assert np.array_equal(late, dataset[30]['inputs'])


def test_needs_a_training_split(dataset: BaseClassDataset) -> None:
    dataset.dataset.split = 'test'
    with pytest.raises(ValueError, match="split='train'"):
        BaseClassDataset(dataset.dataset, PIPELINE)


def test_more_classes_than_labels(dataset: BaseClassDataset) -> None:
    dataset.dataset.class_ids = tuple(range(255))
    with pytest.raises(ValueError, match='255 training classes do not fit into labels of 8 bits: at most 254'):
        BaseClassDataset(dataset.dataset, PIPELINE)

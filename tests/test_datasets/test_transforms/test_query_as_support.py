from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfss.datasets import ImageFolderDataset
from tests.tiny.data import write_class_folders

FLIP = dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal'])


def build(root: Path, prob: float, **options: Any) -> ImageFolderDataset:
    images = [dict(type='LoadEpisodeImage'), dict(type='LoadClassMask'), FLIP]
    pipeline = [dict(type='QueryAsSupport', prob=prob), dict(type='ForEachImage', transforms=images)]
    return ImageFolderDataset(data_root=str(write_class_folders(root)), split='train', fold=None, num_folds=1,
                              pipeline=pipeline, **options)


def test_supports_show_the_query_flipped(tmp_path: Path) -> None:
    dataset = build(tmp_path, 1., num_shots=3)
    turned = set()
    for index in range(6):
        item = dataset[index]
        query, support = item['query'], item['support'][0]
        assert {image['role'] for image in support} == {'support'} and query['role'] == 'query'
        for image in support:
            assert image['name'] == query['name'] and (image['gt_seg_map'] == 1).any()
            turned.add((query['flip_direction'], image['flip_direction']))
            same = query['flip_direction'] == image['flip_direction']
            assert not same or np.array_equal(image['img'], query['img'])
    assert len(turned) > 6


def test_share_of_supports(tmp_path: Path) -> None:
    dataset = build(tmp_path, 0.25, num_shots=3)
    shares = [image['name'] == item['query']['name'] for item in map(dataset.__getitem__, range(60))
              for image in item['support'][0]]
    assert 0.1 < np.mean(shares) < 0.4
    first, again = dataset[3], dataset[3]
    assert [image['name'] for image in first['support'][0]] == [image['name'] for image in again['support'][0]]


def test_bad_options(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='prob must be between 0 and 1, got 2'):
        build(tmp_path / 'a', 2)
    with pytest.raises(ValueError, match='episodes of one class, got 2: set num_ways=1'):
        build(tmp_path / 'b', 0.5, num_ways=2)[0]

import pickle
import random
import shutil

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmfss.datasets import COCO20iDataset, EpisodicDataset, ImageFolderDataset, Pascal5iDataset
from mmfss.datasets.split_lists import write_coco_list
from tests import processes  # noqa: F401  (its processes have imported the package)
from tests.test_datasets.layouts import PIPELINE
from tests.tiny.data import write_class_folders

RANDOM_PIPELINE = [
    dict(
        type='ForEachImage',
        transforms=[*PIPELINE[0]['transforms'], dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion')],
    ),
    PIPELINE[1],
]


def build(root, pipeline=RANDOM_PIPELINE, **kwargs):
    args = dict(
        index=dict(type='FSS1000Index', data_root=root),
        pipeline=pipeline,
        fold=1,
        num_ways=2,
        num_shots=2,
        num_episodes=12,
        seed=5,
    )
    return EpisodicDataset(**{**args, **kwargs})


def fingerprint(item):
    sample = item['data_samples']
    return (
        item['inputs']['query'].numpy().tobytes(),
        item['inputs']['support'].numpy().tobytes(),
        sample.gt_sem_seg.data.numpy().tobytes(),
        sample.support_sem_seg.numpy().tobytes(),
        sample.episode_index,
        sample.query_name,
        str(sample.support_names),
    )


class TestDeterminism:
    def test_order_of_access_and_random_state_change_nothing(self, fss_root):
        dataset = build(fss_root)
        expected = [fingerprint(item) for item in dataset]
        assert len(set(expected)) == 12
        torch.manual_seed(99)
        np.random.seed(99)
        random.seed(99)
        again = build(fss_root)
        assert [fingerprint(again[index]) for index in reversed(range(12))] == expected[::-1]
        assert [fingerprint(item) for item in pickle.loads(pickle.dumps(dataset))] == expected
        assert [fingerprint(item) for item in build(fss_root, seed=6)] != expected

    def test_random_states_of_the_caller_are_untouched(self, fss_root):
        dataset = build(fss_root)
        draws = []
        for access in (False, True):
            torch.manual_seed(1)
            np.random.seed(1)
            random.seed(1)
            if access:
                dataset[3]
            draws.append((torch.rand(1).item(), np.random.rand(), random.random()))
        assert draws[0] == draws[1]

    @pytest.mark.parametrize('num_workers, context', [(1, 'forkserver'), (3, 'fork')])
    def test_workers_change_nothing(self, fss_root, num_workers, context):
        dataset = build(fss_root)
        loader = DataLoader(
            dataset, batch_size=1, num_workers=num_workers, collate_fn=_first, multiprocessing_context=context
        )
        assert [fingerprint(item) for item in loader] == [fingerprint(item) for item in dataset]

    def test_training_stream_goes_on_after_the_epoch(self, fss_root):
        dataset = dict(
            type='EpisodicDataset',
            index=dict(type='FSS1000Index', data_root=fss_root),
            pipeline=PIPELINE,
            split='train',
            sampler=dict(type='UniformEpisodeSampler'),
        )
        with DefaultScope.overwrite_default_scope('mmfss'):
            loader = Runner.build_dataloader(
                dict(dataset=dataset, batch_size=40, num_workers=0, sampler=dict(type='EpisodeStream')), seed=0
            )
        assert len(loader.dataset) == 90 and len(loader) == 3
        batches = iter(loader)
        indices = [sample.episode_index for _ in range(3) for sample in next(batches)['data_samples']]
        assert indices == list(range(120))


def _first(batch):
    return batch[0]


def test_collated_batch(fss_root):
    dataset = build(fss_root, PIPELINE)
    batch = pseudo_collate([dataset[0], dataset[1]])
    assert [image.shape for image in batch['inputs']['support']] == [(2, 2, 3, 32, 40)] * 2
    assert len(batch['data_samples']) == 2


def test_labels_of_an_episode(fss_root):
    for item in build(fss_root, PIPELINE, num_ways=3):
        sample = item['data_samples']
        own = sample.class_names.index(sample.query_name.split('/')[0]) + 1
        assert set(sample.gt_sem_seg.data.unique().tolist()) == {0, own}
        assert set(sample.support_sem_seg.unique().tolist()) == {0, 1}


def test_metainfo(fss_root):
    info = build(fss_root, split='train', fold=2, dataset_name='mine').metainfo
    assert info['fold_class_ids'] == [0, 1, 3, 4, 5, 7, 8, 9, 11] and info['fold'] == 2 and info['split'] == 'train'
    assert (info['num_ways'], info['num_shots'], info['num_episodes'], info['seed']) == (2, 2, 12, 5)
    assert info['lists'] == 'built from the class folders' and info['lists_official'] is False
    assert info['dataset_name'] == 'mine' and len(info['classes']) == 12
    assert info['sampler'] == 'UniformEpisodeSampler'


def test_classes_of_a_split(fss_root):
    names = [['class00', 'class01'], [2, 'class03']]
    assert build(fss_root, folds=names).class_ids == (2, 3)
    assert build(fss_root, folds=names, split='train').class_ids == (0, 1)
    assert build(fss_root, class_ids=['class05', 1], split='train').class_ids == (5, 1)
    assert build(fss_root, fold=None).class_ids == tuple(range(12))
    with pytest.raises(ValueError, match='Unknown class .class99.'):
        build(fss_root, class_ids=['class99'])
    with pytest.raises(ValueError, match='Unknown fold 4'):
        build(fss_root, fold=4)
    with pytest.raises(ValueError, match="Unknown split 'dev'"):
        build(fss_root, split='dev', class_ids=[1])


@pytest.mark.parametrize('key', ['num_ways', 'num_shots'])
def test_ways_and_shots_below_one(fss_root, key):
    with pytest.raises(ValueError, match=f'{key} must be an integer of 1 or more, got 0'):
        build(fss_root, **{key: 0})


class TestValidationOnTrainingClasses:
    """``classes_of='train'``: classes of the other folds, in images that the split lists for no tested class."""

    def test_pascal_lists(self, voc_root, voc_splits, tmp_path):
        splits = tmp_path / 'splits'
        shutil.copytree(voc_splits, splits)
        # An image of class 0 (tested in fold 0) is listed for class 7 too.
        listed = splits / 'val' / 'fold1.txt'
        listed.write_text('2007_000001__08\n' + listed.read_text())
        arguments = dict(data_root=voc_root, split_dir=str(splits), pipeline=PIPELINE, split='val', fold=0)
        tested = Pascal5iDataset(**arguments)
        dataset = Pascal5iDataset(**arguments, classes_of='train', num_episodes=40)
        assert tested.class_ids == tuple(range(5)) and tested.metainfo['classes_of'] == 'val'
        assert dataset.class_ids == tuple(range(5, 20)) and dataset.metainfo['classes_of'] == 'train'
        assert not set(dataset.lists.names) & set(tested.lists.names) and dataset.lists.num_images == 60
        assert [f'val/fold{fold}' in dataset.lists.source for fold in range(4)] == [False, True, True, True]
        assert dataset.lists.source.endswith('images without tested classes') and not dataset.lists.official
        for episode in (dataset.episode(index) for index in range(40)):
            assert 5 <= episode.class_ids[0] < 20
            assert not {episode.query, *episode.supports[0]} & set(tested.lists.names)

    def test_built_lists(self, voc_root):
        """Every image of class c also shows class c + 1; those of class 19 show class 0, which is tested."""
        dataset = Pascal5iDataset(voc_root, PIPELINE, 'val', 0, split_dir=None, min_pixels=1, classes_of='train')
        assert {name[5:8] for name in dataset.lists.names} == {f'{class_id:03d}' for class_id in range(5, 19)}

    def test_coco(self, coco_root, tmp_path):
        arguments = dict(data_root=coco_root, pipeline=PIPELINE, split='val', fold=1)
        built = COCO20iDataset(**arguments, split_dir=None, classes_of='train', min_pixels=1)
        assert built.class_ids == tuple(i for i in range(80) if i % 4 != 1) and built.lists.num_images == 180
        names = {class_id: [f'val2014/COCO_val2014_{class_id + 80 * number:012d}.jpg' for number in range(3)]
                 for class_id in range(80)}
        names[4] = [*names[4], names[5][0]]  # class 5 is tested
        write_coco_list(names, tmp_path / 'val.json')
        listed = COCO20iDataset(**arguments, split_dir=str(tmp_path), classes_of='train')
        assert {i: listed.lists.images_of(i) for i in built.class_ids} == {
            i: built.lists.images_of(i) for i in built.class_ids}
        for fold in (0, 2, 3):  # one list per fold, which holds other classes too
            write_coco_list(names, tmp_path / 'val' / f'fold{fold}.pkl')
        split = COCO20iDataset(**arguments, split_dir=str(tmp_path), classes_of='train')
        assert split.lists.images_of(4) == listed.lists.images_of(4) and len(split.lists) == len(listed.lists) == 180
        assert 'fold2.pkl' in split.lists.source and 'fold1' not in split.lists.source

    def test_own_folder(self, tmp_path):
        root = write_class_folders(tmp_path / 'own')
        train, val = (ImageFolderDataset(str(root), PIPELINE, split, 1, num_folds=2, **extra, num_episodes=3)
                      for split, extra in (('train', {}), ('val', dict(classes_of='train'))))
        assert val.class_ids == train.class_ids == (0, 1)
        assert val.lists.names.tolist() == train.lists.names.tolist()  # there is no division of the images

    @pytest.mark.parametrize('arguments, message', [
        (dict(split='train'), "classes_of='train' goes with split='val'"),
        (dict(split='test'), "classes_of='train' goes with split='val'"),
        (dict(split='val', fold=None), 'all classes are in every split with fold=None'),
        (dict(split='val', class_ids=[1, 2]), 'the classes are given: leave it out'),
        (dict(split='val', classes_of='test'), "got classes_of='test'"),
    ])
    def test_where_it_has_no_meaning(self, fss_root, arguments, message):
        with pytest.raises(ValueError, match=message):
            build(fss_root, **{'classes_of': 'train', **arguments})

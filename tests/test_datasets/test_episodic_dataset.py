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
from mmfss.registry import DATASETS
from tests import processes  # noqa: F401  (its processes have imported the package)
from tests.test_datasets.layouts import PIPELINE, write_coco, write_fss, write_pascal_splits, write_voc
from tests.tiny.data import write_class_folders

RANDOM_PIPELINE = [
    dict(
        type='ForEachImage',
        transforms=[*PIPELINE[0]['transforms'], dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion')],
    ),
    PIPELINE[1],
]


@pytest.fixture(scope='module')
def fss_root(tmp_path_factory):
    return str(write_fss(tmp_path_factory.mktemp('fss'), [f'class{number:02d}' for number in range(12)]))


@pytest.fixture(scope='module')
def voc_root(tmp_path_factory):
    return str(write_voc(tmp_path_factory.mktemp('voc')))


@pytest.fixture(scope='module')
def voc_splits(tmp_path_factory):
    return str(write_pascal_splits(tmp_path_factory.mktemp('splits')))


@pytest.fixture(scope='module')
def coco_root(tmp_path_factory):
    return str(write_coco(tmp_path_factory.mktemp('coco')))


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


class TestPascal5i:
    def build(self, root, splits, **kwargs):
        return DATASETS.build(
            dict(dict(type='Pascal5iDataset', data_root=root, split_dir=splits, pipeline=PIPELINE), **kwargs)
        )

    def test_lists(self, voc_root, voc_splits):
        test = self.build(voc_root, voc_splits, fold=2)
        assert test.class_ids == tuple(range(10, 15)) and len(test.lists) == 20
        train = self.build(voc_root, voc_splits, fold=2, split='train')
        assert train.lists.class_ids.tolist() == [
            class_id for class_id in range(20) if class_id // 5 != 2 for _ in range(4)
        ]
        assert not train.lists.official and train.metainfo['lists'].startswith('unrecognised lists ')
        assert test.metainfo['dataset_name'] == 'PASCAL-5i'

    def test_other_classes_are_background_and_255_is_ignored(self, voc_root, voc_splits):
        item = self.build(
            voc_root, voc_splits, fold=0, sampler=dict(type='PublishedProtocolSampler', benchmark='pascal')
        )[0]
        sample = item['data_samples']
        assert sample.query_name == '2007_000000' and sample.class_names == ['aeroplane']
        assert set(sample.gt_sem_seg.data.unique().tolist()) == {0, 1, 255}

    def test_label_map_of_two_ways(self, voc_root, voc_splits):
        dataset = self.build(voc_root, voc_splits, fold=0, num_ways=5)
        sample = dataset[0]['data_samples']
        main = int(sample.query_name[5:8])
        labels = {sample.class_ids.index(class_id) + 1 for class_id in (main, main + 1) if class_id in sample.class_ids}
        assert set(sample.gt_sem_seg.data.unique().tolist()) == {0, 255} | labels

    def test_official_lists_are_recognised_by_checksum(self, voc_root, voc_splits, monkeypatch):
        from mmfss.datasets import split_lists

        for fold in (0, 1, 3):
            digest = split_lists.text_digest(f'{voc_splits}/trn/fold{fold}.txt')
            monkeypatch.setitem(split_lists.OFFICIAL_LISTS, ('pascal', f'trn/fold{fold}'), digest)
        train = self.build(voc_root, voc_splits, fold=2, split='train').metainfo
        assert train['lists'] == 'official PASCAL-5i (DCAMA/HSNet)' and train['lists_official'] is True
        assert self.build(voc_root, voc_splits, fold=1, split='train').metainfo['lists_official'] is False
        fewer = self.build(voc_root, voc_splits, fold=2, split='train', class_ids=range(9)).metainfo
        assert fewer['lists'].startswith('unrecognised lists') and fewer['lists_official'] is False

    def test_built_lists(self, voc_root, tmp_path, caplog):
        train = self.build(voc_root, str(tmp_path / 'none'), fold=1, split='train', min_pixels=60)
        assert train.lists.class_ids.tolist() == [
            class_id for class_id in range(20) if class_id // 5 != 1 for _ in range(2)
        ]
        assert train.metainfo['lists'].startswith('built from annotations') and not train.metainfo['lists_official']
        assert self.build(voc_root, None, fold=1, min_pixels=60).lists.names.tolist()[0] == '2007_005001'

    def test_list_naming_a_missing_image(self, voc_root, voc_splits, tmp_path):
        (tmp_path / 'val').mkdir()
        (tmp_path / 'val' / 'fold0.txt').write_text('2007_000000__01\n1999_000000__01\n')
        with pytest.raises(FileNotFoundError, match=r'val/fold0.txt" names 1 image\(s\) .* first ".*1999_000000.jpg"'):
            self.build(voc_root, str(tmp_path))

    def test_missing_list_in_a_list_folder(self, voc_root, tmp_path):
        with pytest.raises(FileNotFoundError, match='val/fold0.txt" does not exist'):
            self.build(voc_root, str(tmp_path))

    def test_image_without_mask(self, tmp_path, voc_splits):
        root = write_voc(tmp_path)
        (root / 'SegmentationClassAug' / '2007_001002.png').unlink()
        with pytest.raises(
            FileNotFoundError, match=r'names 1 mask\(s\) .* first ".*SegmentationClassAug/2007_001002.png"'
        ):
            self.build(str(root), voc_splits)

    def test_missing_root(self, voc_splits, tmp_path):
        with pytest.raises(FileNotFoundError, match='nowhere" does not exist.*data_root'):
            self.build(str(tmp_path / 'nowhere'), voc_splits)
        with pytest.raises(FileNotFoundError, match='JPEGImages" does not exist'):
            self.build(str(tmp_path), voc_splits)

    def test_corrupt_image(self, tmp_path, voc_splits):
        root = write_voc(tmp_path)
        for path in (root / 'JPEGImages').iterdir():
            path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(ValueError, match=r'2007_00.*\.jpg'):
            self.build(str(root), voc_splits)[0]

    def test_generic_list_files(self, voc_root, voc_splits):
        files = [f'{voc_splits}/val/fold0.txt', f'{voc_splits}/val/fold1.txt']
        dataset = self.build(voc_root, None, fold=0, list_files=files)
        assert len(dataset.lists) == 20 and dataset.metainfo['lists'] == ', '.join(files)


class TestCOCO20i:
    @pytest.mark.parametrize('masks', ['json', 'png'])
    @pytest.mark.parametrize('split, part', [('train', 'train2014'), ('test', 'val2014')])
    def test_both_mask_formats(self, coco_root, masks, split, part):
        dataset = DATASETS.build(
            dict(
                type='COCO20iDataset',
                data_root=coco_root,
                split_dir=None,
                fold=3,
                split=split,
                masks=masks,
                pipeline=PIPELINE,
                min_pixels=100,
                num_episodes=4,
            )
        )
        assert (dataset.class_ids == tuple(range(3, 80, 4))) == (split == 'test')
        assert all(name.startswith(f'{part}/COCO_{part}_') for name in dataset.lists.names)
        sample = dataset[0]['data_samples']
        assert set(sample.gt_sem_seg.data.unique().tolist()) == {0, 1}

    def test_lists_of_a_fold(self, coco_root, tmp_path):
        from mmfss.datasets.split_lists import write_coco_list

        names = {
            class_id: [f'val2014/COCO_val2014_{class_id + 80 * number:012d}.jpg' for number in (2, 0, 1)]
            for class_id in range(80)
        }
        write_coco_list(names, tmp_path / 'val.json')
        args = dict(type='COCO20iDataset', data_root=coco_root, split_dir=str(tmp_path), fold=1, pipeline=PIPELINE)
        dataset = DATASETS.build(args)
        assert dataset.lists.images_of(5) == names[5] and len(dataset.lists) == 60 and not dataset.lists.images_of(4)
        write_coco_list(
            {class_id: names[class_id] if class_id % 4 == 1 else [] for class_id in range(80)},
            tmp_path / 'val' / 'fold1.pkl',
        )
        assert list(DATASETS.build(args).sampler) == list(dataset.sampler)
        write_coco_list({1: ['val2014/none.jpg']}, tmp_path / 'val' / 'fold1.pkl')
        with pytest.raises(FileNotFoundError, match='fold1.pkl" names 1 image.* first "val2014/none.jpg"'):
            DATASETS.build(args)
        write_coco_list({80: ['a.jpg']}, tmp_path / 'val' / 'fold1.pkl')
        with pytest.raises(ValueError, match=r'fold1.pkl names class 80; known are the ids 0..79'):
            DATASETS.build(args)
        with pytest.raises(FileNotFoundError, match='none of the split lists trn/fold1.pkl'):
            DATASETS.build(dict(args, split='train'))
        with pytest.raises(ValueError, match='masks must be'):
            DATASETS.build(dict(args, masks='xml'))


class TestFSS1000:
    def test_lists_and_offsets(self, tmp_path):
        root = write_fss(tmp_path / 'data')
        splits = tmp_path / 'splits'
        splits.mkdir()
        for part, names in (('trn', 'dog\r\nant\r\n'), ('val', 'cat\n'), ('test', 'bee\nEel\n')):
            (splits / f'{part}.txt').write_bytes(names.encode())
        args = dict(
            type='FSS1000Dataset',
            data_root=str(root),
            split_dir=str(splits),
            pipeline=PIPELINE,
            sampler=dict(type='PublishedProtocolSampler', benchmark='fss'),
        )
        test = DATASETS.build(args)
        assert test.index.classes == ('ant', 'dog', 'cat', 'Eel', 'bee') and test.class_ids == (3, 4)
        assert len(test) == 20 and test.episode(1).query == 'Eel/10.jpg' and test.episode(1).class_ids == (3,)
        assert DATASETS.build(dict(args, split='val')).class_ids == (2,)
        (splits / 'test.txt').write_text('bee\ncow\n')
        with pytest.raises(FileNotFoundError, match=r'test.txt" names 1 categories .* first ".*cow"'):
            DATASETS.build(args)
        with pytest.raises(ValueError, match='Unknown fold 1'):
            DATASETS.build(dict(args, fold=1))

    def test_without_lists(self, fss_root):
        ids = [
            DATASETS.build(
                dict(type='FSS1000Dataset', data_root=fss_root, split_dir=None, split=split, pipeline=PIPELINE)
            ).class_ids
            for split in ('train', 'val', 'test')
        ]
        assert ids == [tuple(range(6)), (6, 7, 8), (9, 10, 11)]

    def test_missing_root(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='nowhere" does not exist'):
            DATASETS.build(
                dict(type='FSS1000Dataset', data_root=str(tmp_path / 'nowhere'), split_dir=None, pipeline=[])
            )


class TestImageFolder:
    def write(self, root, images=4):
        from tests.tiny.data import write_class_folders

        return write_class_folders(root, num_images=images)

    def test_folds(self, tmp_path):
        dataset = ImageFolderDataset(str(self.write(tmp_path / 'mine')), PIPELINE, num_folds=2, fold=1, num_shots=3)
        assert [dataset.index.classes[class_id] for class_id in dataset.class_ids] == ['cat', 'dog']
        assert dataset.metainfo['dataset_name'] == 'mine'
        assert dataset[0]['inputs']['support'].shape == (1, 3, 3, 32, 40)

    def test_too_few_images(self, tmp_path):
        with pytest.raises(
            ValueError, match=r'Class "ant" \(id 0\) has 3 image\(s\).* 3-shot episodes need at least 4'
        ):
            ImageFolderDataset(str(self.write(tmp_path, images=3)), PIPELINE, num_folds=2, num_shots=3)

    def test_image_without_mask(self, tmp_path):
        root = self.write(tmp_path)
        (root / 'bee' / 'masks' / '2.png').unlink()
        with pytest.raises(FileNotFoundError, match=r'bee/images/2.jpg" has no mask: expected ".*bee/masks/2.png"'):
            ImageFolderDataset(str(root), PIPELINE)

    def test_missing_folder(self, tmp_path):
        (tmp_path / 'cow').mkdir()
        with pytest.raises(FileNotFoundError, match='cow/images" does not exist'):
            ImageFolderDataset(str(tmp_path), PIPELINE)


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

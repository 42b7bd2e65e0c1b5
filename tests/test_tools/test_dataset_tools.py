"""The list converters, the mask converter and the episode browser, run as a user runs them."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmfss.datasets import CocoInstanceIndex, CocoMaskIndex
from mmfss.registry import DATASETS
from tests.test_datasets.layouts import PIPELINE, write_coco, write_fss, write_voc
from tests.tiny.data import write_class_folders

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_tool(monkeypatch):

    def run(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')

    return run


@pytest.mark.parametrize('split', ['train', 'test'])
def test_pascal_lists_are_those_built_in_memory(run_tool, tmp_path, split):
    root = write_voc(tmp_path / 'voc', 6)
    run_tool('dataset_converters/pascal5i_lists.py', root, tmp_path / 'lists', '--min-pixels', 60)
    args = dict(
        type='Pascal5iDataset',
        data_root=str(root),
        split=split,
        fold=1,
        pipeline=PIPELINE,
        min_pixels=60,
        sampler=dict(type='UniformEpisodeSampler', order='list'),
    )
    written = DATASETS.build(dict(args, split_dir=str(tmp_path / 'lists')))
    built = DATASETS.build(dict(args, split_dir=None))
    assert list(written.sampler) == list(built.sampler) and len(built.lists) == (45 if split == 'train' else 15)
    assert not written.metainfo['lists_official']


@pytest.mark.parametrize('form', ['json', 'pkl'])
@pytest.mark.parametrize('split', ['train', 'test'])
def test_coco_lists_are_those_built_in_memory(run_tool, tmp_path, form, split):
    root = write_coco(tmp_path / 'coco', 2)
    run_tool('dataset_converters/coco20i_lists.py', root, tmp_path / 'lists', '--format', form, '--min-pixels', 100)
    args = dict(
        type='COCO20iDataset',
        data_root=str(root),
        split=split,
        fold=1,
        pipeline=PIPELINE,
        min_pixels=100,
        sampler=dict(type='UniformEpisodeSampler', order='list'),
    )
    written = DATASETS.build(dict(args, split_dir=str(tmp_path / 'lists')))
    built = DATASETS.build(dict(args, split_dir=None))
    assert list(written.sampler) == list(built.sampler) and len(built.lists) == (120 if split == 'train' else 40)


def test_fss_lists_are_those_built_in_memory(run_tool, tmp_path):
    root = write_fss(tmp_path / 'fss', [f'c{number}' for number in range(12)])
    run_tool('dataset_converters/fss1000_lists.py', root, tmp_path / 'lists')
    for split, count in (('train', 6), ('val', 3), ('test', 3)):
        args = dict(type='FSS1000Dataset', data_root=str(root), split=split, pipeline=PIPELINE, num_episodes=9)
        written = DATASETS.build(dict(args, split_dir=str(tmp_path / 'lists')))
        assert list(written.sampler) == list(DATASETS.build(dict(args, split_dir=None)).sampler)
        assert len(written.class_ids) == count


def test_coco_masks(run_tool, tmp_path):
    root = write_coco(tmp_path, 1)
    run_tool('dataset_converters/coco_masks.py', root, '--mask-dir', 'masks')
    instances, masks = CocoInstanceIndex(str(root)), CocoMaskIndex(str(root), mask_dir='masks')
    assert masks.image_names() == instances.image_names()
    for class_id, name in enumerate(masks.image_names()):
        np.testing.assert_array_equal(masks.load_class_mask(name, class_id), instances.load_class_mask(name, class_id))


def write_instances(root, files, num_classes=3, **objects):
    """Instances of images of 8 x 10 pixels in the folder ``img``; ``objects``: category and box of each image."""
    images = [dict(id=number, file_name=file, height=8, width=10) for number, file in enumerate(files)]
    annotations = [
        dict(id=number, image_id=number, category_id=number % num_classes, segmentation=[[0, 0, 4, 0, 4, 3, 0, 3]])
        for number in range(len(files))
    ]
    annotations += objects.get('more', [])
    categories = [dict(id=number, name=f'c{number}') for number in range(num_classes)]
    (root / 'img').mkdir(parents=True)
    (root / 'my.json').write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return ['--ann-file', 'my.json', '--img-dir', 'img', '--mask-dir', 'masks']


def test_coco_masks_keep_the_folders_of_their_images(run_tool, tmp_path):
    arguments = write_instances(tmp_path, ['a/1.jpg', 'b/1.jpg', '1.jpg', 'b/c/1.v2.jpg'])
    run_tool('dataset_converters/coco_masks.py', tmp_path, *arguments)
    instances = CocoInstanceIndex(str(tmp_path), 'my.json', 'img')
    masks = CocoMaskIndex(str(tmp_path), 'img', 'masks', instances.classes)
    assert masks.image_names() == ['img/1.jpg', 'img/a/1.jpg', 'img/b/1.jpg', 'img/b/c/1.v2.jpg']
    assert masks.image_names() == instances.image_names()
    for name in masks.image_names():
        assert masks.class_pixels(name) == instances.class_pixels(name)
        np.testing.assert_array_equal(masks.load_label_map(name, (2, 0)), instances.load_label_map(name, (2, 0)))


@pytest.mark.parametrize('files, message', [
    (['1.jpg', '1.png'], 'the images "img/1.jpg" and "img/1.png" .* would both have the mask "1.png"'),
    (['a/1.jpg', 'b/../a/1.jpeg'], 'would both have the mask "a/1.png"'),
    (['../other/1.jpg'], 'the image "img/../other/1.jpg" lies outside its folder "img"'),
    (['/data/1.jpg'], 'the image "img//data/1.jpg" lies outside its folder "img"'),
])
def test_coco_masks_that_would_overwrite_each_other(run_tool, tmp_path, capsys, files, message):
    arguments = write_instances(tmp_path, files)
    with pytest.raises(SystemExit, match='1'):
        run_tool('dataset_converters/coco_masks.py', tmp_path, *arguments)
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / 'masks').exists()


@pytest.mark.parametrize('num_classes, mode, ignored', [(254, 'L', 255), (255, 'I;16', 65535), (1203, 'I;16', 65535)])
def test_coco_masks_of_many_classes(run_tool, tmp_path, num_classes, mode, ignored):
    last = num_classes - 1
    boxes = [
        dict(image_id=0, category_id=category, iscrowd=crowd, segmentation=[[x, 4, x + 2, 4, x + 2, 7, x, 7]])
        for category, crowd, x in ((last, 0, 0), (253, 0, 3), (1, 1, 6))
    ]
    arguments = write_instances(tmp_path, ['1.jpg'], num_classes, more=boxes)
    run_tool('dataset_converters/coco_masks.py', tmp_path, *arguments, '--crowd', 'ignore')
    with Image.open(tmp_path / 'masks' / '1.png') as image:
        assert image.mode == mode
        numbers = np.array(image)
    assert set(np.unique(numbers)) == {0, 1, 254, last + 1, ignored}
    instances = CocoInstanceIndex(str(tmp_path), 'my.json', 'img', crowd='ignore')
    masks = CocoMaskIndex(str(tmp_path), 'img', 'masks', instances.classes)
    assert masks.class_pixels('img/1.jpg') == instances.class_pixels('img/1.jpg')
    for class_ids in ((last, ), (1, 0, last)):
        np.testing.assert_array_equal(masks.load_label_map('img/1.jpg', class_ids) == 255, numbers == ignored)
        labels = masks.load_label_map('img/1.jpg', class_ids)
        for label, class_id in enumerate(class_ids, start=1):
            np.testing.assert_array_equal(labels == label, numbers == class_id + 1)


def test_coco_masks_of_more_classes_than_numbers(run_tool, tmp_path, capsys):
    arguments = write_instances(tmp_path, ['1.jpg'], 65535)
    with pytest.raises(SystemExit, match='1'):
        run_tool('dataset_converters/coco_masks.py', tmp_path, *arguments)
    assert '65535 classes do not fit' in capsys.readouterr().err and not (tmp_path / 'masks').exists()


def test_coco_masks_of_faulty_annotations(run_tool, tmp_path, capsys):
    faulty = dict(id=8, image_id=0, category_id=0, segmentation=[[None] * 6])
    arguments = write_instances(tmp_path, ['1.jpg'], more=[faulty])
    with pytest.raises(SystemExit, match='1'):
        run_tool('dataset_converters/coco_masks.py', tmp_path, *arguments)
    assert 'my.json: annotation 8 has the coordinate null' in capsys.readouterr().err
    assert not (tmp_path / 'masks').exists()


def test_browse_episodes(run_tool, tmp_path, capsys):
    write_class_folders(tmp_path / 'data')
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = "{ROOT}/configs/_base_/datasets/own_folder_384.py"\n'
        'default_scope = "mmfss"\n'
        f'test_dataloader = dict(dataset=dict(data_root="{tmp_path}/data", num_folds=2, num_ways=2))\n'
    )
    run_tool(
        'analysis_tools/browse_episodes.py',
        config,
        '--num',
        2,
        '--start',
        3,
        '--output-dir',
        tmp_path / 'out',
        '--cfg-options',
        'test_dataloader.dataset.num_shots=3',
    )
    files = sorted((tmp_path / 'out').iterdir())
    assert [file.name for file in files] == ['test_00003.png', 'test_00004.png']
    width, height = Image.open(files[0]).size
    assert width > 3 * 384 and height > 3 * 384  # three supports beside each other; the query and two classes below it
    assert 'built from the class folders' in capsys.readouterr().out


LAYOUTS = {
    'pascal5i_384.py': (write_voc, dict(split_dir=None, min_pixels=50)),
    'coco20i_384.py': (write_coco, dict(split_dir=None, min_pixels=100)),
    'fss1000_384.py': (lambda root: write_fss(root, [f'c{number}' for number in range(12)]), dict(split_dir=None)),
    'own_folder_384.py': (write_class_folders, {}),
}


@pytest.mark.parametrize('name', LAYOUTS)
def test_dataset_configs_draw_episodes(name, tmp_path):
    write, extra = LAYOUTS[name]
    write(tmp_path)
    config = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / name)
    for split in ('train', 'val', 'test'):
        options = dict(config[f'{split}_dataloader'].dataset, data_root=str(tmp_path), **extra)
        if name == 'own_folder_384.py':
            options['num_folds'] = 2
        item = DATASETS.build(options)[0]
        assert item['inputs']['query'].shape == (3, 384, 384)
        assert item['inputs']['support'].shape == (1, 1, 3, 384, 384)
    assert config.val_evaluator.type == config.test_evaluator.type == 'EpisodicIoU'


@pytest.mark.parametrize('tool', ['pascal5i_lists', 'coco20i_lists', 'fss1000_lists', 'coco_masks', 'isbi_em'])
def test_missing_data_is_told_in_a_line(run_tool, tmp_path, capsys, tool):
    with pytest.raises(SystemExit, match='1'):
        run_tool(f'dataset_converters/{tool}.py', tmp_path / 'none', *[tmp_path / 'out'] * (tool != 'coco_masks'))
    assert 'none' in capsys.readouterr().err


def test_shapes_are_not_made_over_something_else(run_tool, tmp_path, capsys):
    (tmp_path / 'mine.txt').write_text('mine')
    with pytest.raises(SystemExit, match='1'):
        run_tool('dataset_converters/make_shapes.py', tmp_path)
    assert 'is not a shapes dataset' in capsys.readouterr().err

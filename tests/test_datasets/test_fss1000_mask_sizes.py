"""Masks of FSS-1000 that have another size than their image: read as the released loader reads them."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader

from mmfss.datasets import ImageFolderIndex, LoadClassMask, LoadEpisodeImage, ResizeEpisodeImage
from mmfss.datasets.class_indices import ClassIndex, folders
from mmfss.registry import DATASETS, TRANSFORMS
from tests.test_datasets.layouts import PIPELINE, SIZE, boxes_mask, save_image, save_mask, write_fss

CATEGORIES = ('ant', 'bee', 'cat', 'dog', 'eel', 'fox', 'gnu', 'hen')
ODD = {'gnu/8.png': (62, 63), 'hen/1.png': (50, 50), 'hen/10.png': (11, 70), 'gnu/2.png': (24, 30)}


@pytest.fixture
def root(tmp_path):
    write_fss(tmp_path, CATEGORIES)
    for file, size in ODD.items():
        grey = np.random.RandomState(len(file)).randint(0, 256, size, dtype=np.uint8)
        save_mask(tmp_path / file, grey)
    # a colour photograph in place of a mask, of another size and of that of its image
    for file, size in (('gnu/3.png', (27, 40)), ('hen/5.png', SIZE)):
        save_image(tmp_path / file, 7, size)
    (tmp_path / 'gnu' / '1.jpeg').write_bytes(b'left over')
    return tmp_path


def released(root, name, scale):
    """Binary at 128, then PyTorch's nearest from the stored size to that of the network, (h, w) uint8."""
    with Image.open(root / name.replace('.jpg', '.png')) as image:
        mask = torch.tensor(np.array(image.convert('L')))
    return F.interpolate((mask >= 128).float()[None, None], scale, mode='nearest')[0, 0].to(torch.uint8).numpy()


def build(root, monkeypatch, **kwargs):
    told = []
    monkeypatch.setattr(folders, 'print_log', lambda text, *_, **__: told.append(text))
    protocol = dict(type='PublishedProtocolSampler', benchmark='fss', seed=0)
    dataset = DATASETS.build(dict(dict(type='FSS1000Dataset', data_root=str(root), split_dir=None, pipeline=PIPELINE,
                                       sampler=protocol), **kwargs))
    return dataset, told


@pytest.mark.parametrize('num_shots', [1, 5])
def test_published_protocol(root, monkeypatch, num_shots):
    dataset, told = build(root, monkeypatch, num_shots=num_shots)
    assert len(dataset) == 20
    supports = set()
    for item, episode in zip(dataset, dataset.sampler):
        sample = item['data_samples']
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0], released(root, episode.query, (32, 40)))
        for mask, name in zip(sample.support_sem_seg[0].numpy(), episode.supports[0]):
            np.testing.assert_array_equal(mask, released(root, name, (32, 40)))
            supports.add(name.replace('.jpg', '.png'))
    assert supports & {*ODD, 'gnu/3.png'}
    assert len(told) == 1 and ': 4 of 20 masks have another size' in told[0] and f'first "{root}/gnu/3.png"' in told[0]


def test_in_worker_processes(root, monkeypatch):
    dataset, told = build(root, monkeypatch)
    alone = [item['data_samples'].gt_sem_seg.data for item in dataset]
    loader = DataLoader(dataset, batch_size=None, num_workers=2, collate_fn=lambda item: item)
    for item, expected in zip(loader, alone):
        assert torch.equal(item['data_samples'].gt_sem_seg.data, expected)
    assert len(told) == 1


def test_nothing_is_told_of_matching_masks(root, monkeypatch):
    assert build(root, monkeypatch, split='train')[1] == []


def load(root, name, *steps):
    index = DATASETS.build(dict(type='FSS1000Index', data_root=str(root)))
    results = dict(name=name, img_path=index.image_path(name), mask_class_ids=(index.class_of(name),), role='query',
                   class_index=index, seg_fields=[])
    for step in (LoadEpisodeImage(), LoadClassMask(keep_original=True), *steps):
        results = step(results)
    return results


def test_loaded_masks_have_the_size_of_their_image(root):
    results = load(root, 'hen/1.jpg')
    np.testing.assert_array_equal(results['gt_seg_map'], released(root, 'hen/1.jpg', SIZE))
    np.testing.assert_array_equal(results['gt_seg_map_ori'], results['gt_seg_map'])


def test_two_steps_would_give_other_pixels(root):
    once = load(root, 'gnu/8.jpg', ResizeEpisodeImage(scale=(40, 32)))['gt_seg_map']
    plain = load(root, 'gnu/8.jpg')
    plain.pop('stored_seg_map')
    assert (once != ResizeEpisodeImage(scale=(40, 32))(plain)['gt_seg_map']).any()


def test_transforms_between_loading_and_resizing(root):
    init_default_scope('mmfss')
    flip = TRANSFORMS.build(dict(type='mmseg.RandomFlip', prob=1.0))
    crop = TRANSFORMS.build(dict(type='mmseg.RandomCrop', crop_size=(10, 10)))
    flipped = load(root, 'hen/10.jpg', flip, ResizeEpisodeImage(scale=(30, 24)))['gt_seg_map']
    np.testing.assert_array_equal(flipped, load(root, 'hen/10.jpg')['gt_seg_map'][:, ::-1])
    np.random.seed(0)
    cropped = load(root, 'hen/10.jpg', crop, ResizeEpisodeImage(scale=(20, 20)))
    np.random.seed(0)
    same = load(root, 'hen/10.jpg', crop)
    np.testing.assert_array_equal(cropped['gt_seg_map'][::2, ::2], same['gt_seg_map'])


def test_empty_support_is_told_by_the_stored_mask(root):
    # One pixel, which the small image does not keep: the released loader has an empty support here as well.
    save_mask(root / 'ant' / '1.png', boxes_mask([(255, 1, 1, 2, 2)], (97, 121)))
    assert not load(root, 'ant/1.jpg')['gt_seg_map'].any()
    index = DATASETS.build(dict(type='FSS1000Index', data_root=str(root)))
    info = dict(name='ant/1.jpg', mask_class_ids=(0,), role='support', class_index=index, seg_fields=[],
                img=np.zeros((*SIZE, 3), np.uint8), img_path='ant/1.jpg')
    assert not LoadClassMask()(dict(info))['gt_seg_map'].any()
    save_mask(root / 'ant' / '1.png', boxes_mask([], (97, 121)))
    with pytest.raises(ValueError, match='support mask of class "ant" in image "ant/1.jpg" is empty'):
        LoadClassMask()(dict(info))


def test_other_datasets_stay_strict(tmp_path):
    assert not ClassIndex.resizes_masks and not ImageFolderIndex.resizes_masks
    save_image(tmp_path / 'cat' / 'images' / 'a.png', 1)
    save_mask(tmp_path / 'cat' / 'masks' / 'a.png', boxes_mask([(1, 0, 0, 5, 5)], (48, 60)))
    index = ImageFolderIndex(str(tmp_path))
    info = dict(name='cat/images/a.png', img_path=index.image_path('cat/images/a.png'), mask_class_ids=(0,),
                role='query', class_index=index, seg_fields=[])
    with pytest.raises(ValueError, match=r'a.png has size \(48, 60\)'):
        LoadClassMask()(LoadEpisodeImage()(info))

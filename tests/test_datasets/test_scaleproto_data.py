"""Data of ScaleProtoSeg: streams that repeat, semantic shapes, raw COCO ids, microscopy."""
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmfss import register_all_modules
from mmfss.datasets import COCOStuff182Dataset, ISBIEMDataset, RepeatableDataset, ShapesSegDataset
from mmfss.datasets.shapes.semantic import FAMILY_NAMES, quarters
from mmfss.datasets.transforms import RandomScale
from tests import processes

ROOT = Path(__file__).parents[2]
PACK = dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape'))


@pytest.fixture(scope='module')
def shapes_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp('data') / 'shapes')


def build(root: str, *steps: dict) -> ShapesSegDataset:
    register_all_modules(init_default_scope=True)
    return ShapesSegDataset(root, 'train', index=dict(num_train=6, num_val=2, side=64),
                            pipeline=[dict(type='LoadEpisodeImage'), *steps])


def test_shapes(shapes_root: str) -> None:
    dataset = build(shapes_root, PACK)
    assert len(dataset) == 6 and dataset.metainfo['classes'][0] == 'background' and len(FAMILY_NAMES) == 16
    labels = dataset[2]['data_samples'].gt_sem_seg.data[0]
    assert labels.shape == (64, 64) and len(labels.unique()) == 4 and labels.max() <= 16
    objects = dataset.shapes.load_label_map(dataset.get_data_info(2)['name'], range(64))
    for class_id in np.unique(objects[objects > 0]):
        assert (labels.numpy()[objects == class_id] == (class_id - 1) // 4 + 1).all()
    info = build(shapes_root).__getitem__(2)
    assert ((info['gt_part_map'] > 0) == (info['gt_seg_map'] > 0)).all() and info['gt_part_map'].max() == 4


def test_quarters() -> None:
    labels = np.zeros((4, 6), np.uint8)
    labels[1:3, 1:5] = 7
    expected = np.zeros((4, 6), np.uint8)
    expected[1, 1:5], expected[2, 1:5] = [1, 1, 2, 2], [3, 3, 4, 4]
    assert (quarters(labels) == expected).all()


def test_stream_repeats(shapes_root: str) -> None:
    steps = [dict(type='RandomScale', ratio_range=(0.5, 1.5)), dict(type='RandomFlip', prob=0.5), PACK]
    one, two = (RepeatableDataset(build(shapes_root, *steps), seed=3) for _ in range(2))
    other = RepeatableDataset(build(shapes_root, *steps), seed=4)
    order = [13, 2, 30, 7]
    first = {i: one[i] for i in order}
    for i in reversed(order):
        again = two[i]
        assert again['inputs'].equal(first[i]['inputs'])
        assert again['data_samples'].gt_sem_seg.data.equal(first[i]['data_samples'].gt_sem_seg.data)
    assert any(other[i]['inputs'].shape != first[i]['inputs'].shape for i in order)
    paths = [one[i]['data_samples'].img_path for i in range(12)]
    assert len(set(paths[:6])) == len(set(paths[6:])) == 6 and paths[:6] != paths[6:]
    assert len({one[i]['inputs'].shape for i in range(6)}) > 1


def test_random_scale() -> None:
    np.random.seed(0)
    results = dict(img=np.zeros((101, 67, 3), np.uint8), gt_seg_map=np.zeros((101, 67), np.uint8),
                   gt_part_map=np.zeros((101, 67), np.uint8), seg_fields=['gt_seg_map', 'gt_part_map'])
    factor = np.random.RandomState(0).uniform(0.5, 2)
    scaled = RandomScale((0.5, 2))(results)
    assert scaled['img'].shape[:2] == scaled['gt_seg_map'].shape == (int(101 * factor), int(67 * factor))
    assert scaled['gt_part_map'].shape == scaled['gt_seg_map'].shape
    with pytest.raises(ValueError, match='two factors above 0 in ascending order'):
        RandomScale((2, 1))


def test_raw_coco_ids() -> None:
    names = COCOStuff182Dataset.METAINFO['classes']
    assert len(names) == len(set(names)) == 182
    # COCO ids count from 1: 1 person, 12 unused, 13 stop sign, 90 toothbrush, 92 banner, 182 wood.
    assert [names[i - 1] for i in (1, 12, 13, 90, 91, 92, 182)] == [
        'person', 'street sign', 'stop sign', 'toothbrush', 'hair brush', 'banner', 'wood']


def test_microscopy(tmp_path: Path) -> None:
    rng = np.random.RandomState(0)
    for kind in ('volume', 'labels'):
        pages = [Image.fromarray((rng.randint(0, 2, (8, 8)) * 255).astype(np.uint8)) for _ in range(30)]
        pages[0].save(tmp_path / f'train-{kind}.tif', save_all=True, append_images=pages[1:])
    tool = [ROOT / 'tools/dataset_converters/isbi_em.py', tmp_path, tmp_path / 'isbi']
    done = processes.run(*tool)
    assert done.returncode == 0 and '20 slices to train, 10 slices to val' in done.stdout, done.stderr
    register_all_modules(init_default_scope=True)
    dataset = ISBIEMDataset(data_root=str(tmp_path / 'isbi'), pipeline=[
        dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), PACK],
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'))
    assert len(dataset) == 10
    assert set(dataset[0]['data_samples'].gt_sem_seg.data.unique().tolist()) == {0, 1}
    (tmp_path / 'train-labels.tif').unlink()
    done = processes.run(*tool)
    assert done.returncode == 1 and 'train-labels.tif" does not exist' in done.stderr

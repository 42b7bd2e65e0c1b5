"""All faults of a dataset, found by reading it once."""
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmfss.datasets.checking import Fault, check_dataset
from tests.test_datasets.layouts import boxes_mask, save_mask, write_coco, write_pascal_splits, write_voc
from tests.tiny.data import PIPELINE, write_class_folders


def folder_cfg(root: Path, **options: Any) -> dict:
    return dict(type='ImageFolderDataset', data_root=str(root), fold=None, num_folds=1, pipeline=PIPELINE, **options)


def brief(faults: list[Fault], root: Path) -> set[tuple[str, str, str]]:
    return {(fault.kind, fault.class_name, fault.file.removeprefix(f'{root}/')) for fault in faults}


@pytest.mark.parametrize('jobs', [0, 2])
def test_a_folder_with_every_fault(tmp_path: Path, jobs: int) -> None:
    root = write_class_folders(tmp_path, num_images=6)
    whole = (root / 'ant' / 'images' / '0.jpg').read_bytes()
    (root / 'ant' / 'images' / '0.jpg').write_bytes(whole[:-100])
    (root / 'ant' / 'images' / '1.jpg').write_bytes(b'')
    Image.fromarray(np.full((60, 80), 40000, np.uint16)).save(root / 'ant' / 'images' / '2.png')
    (root / 'ant' / 'images' / '2.jpg').unlink()
    save_mask(root / 'bee' / 'masks' / '0.png', np.zeros((60, 80)))
    save_mask(root / 'bee' / 'masks' / '1.png', np.ones((80, 60)))
    (root / 'bee' / 'masks' / '2.png').write_bytes(b'no picture')
    (root / 'bee' / 'masks' / '3.png').unlink()
    for number in range(1, 6):
        (root / 'cat' / 'images' / f'{number}.jpg').unlink()
    images, faults = check_dataset(folder_cfg(root, num_shots=2), jobs)
    assert images == 18 and brief(faults, root) == {
        ('image', '', 'ant/images/0.jpg'), ('image', '', 'ant/images/1.jpg'), ('image', '', 'ant/images/2.png'),
        ('mask', 'bee', 'bee/masks/0.png'), ('mask', 'bee', 'bee/masks/1.png'), ('mask', 'bee', 'bee/masks/2.png'),
        ('missing', '', 'bee/images/3.jpg'), ('class', '', '')}
    problems = {fault.file.removeprefix(f'{root}/'): fault.problem for fault in faults}
    assert 'is empty' in problems['bee/masks/0.png'] and 'has size (80, 60)' in problems['bee/masks/1.png']
    assert 'more than 8 bits' in problems['ant/images/2.png'] and 'truncated' in problems['ant/images/0.jpg']
    # Two good images are left of "bee", one image is there of "cat": too few for a query and two supports.
    assert '"bee" (id 1) has 2 image(s)' in problems[''] and '"cat" (id 2): 1' in problems['']


def test_a_good_folder(tmp_path: Path) -> None:
    assert check_dataset(folder_cfg(write_class_folders(tmp_path))) == (16, [])
    wrapped = dict(type='BaseClassDataset', dataset=dict(folder_cfg(tmp_path), split='train'))
    wrapped['dataset'].pop('pipeline')
    assert check_dataset(wrapped) == (16, [])


def test_lists(tmp_path: Path) -> None:
    voc, splits = write_voc(tmp_path / 'voc'), write_pascal_splits(tmp_path / 'splits')
    cfg = dict(type='Pascal5iDataset', data_root=str(voc), split_dir=str(splits), fold=0, pipeline=PIPELINE)
    assert check_dataset(cfg) == (20, [])
    (voc / 'JPEGImages' / '2007_000000.jpg').unlink()
    (voc / 'SegmentationClassAug' / '2007_001001.png').unlink()
    save_mask(voc / 'SegmentationClassAug' / '2007_002000.png', boxes_mask([(3, 2, 2, 12, 12), (99, 15, 15, 20, 20)]))
    save_mask(voc / 'SegmentationClassAug' / '2007_003000.png', boxes_mask([(7, 2, 2, 12, 12)]))
    images, faults = check_dataset(cfg)
    assert images == 20 and brief(faults, voc) == {
        ('missing', '', 'JPEGImages/2007_000000.jpg'), ('missing', '', 'SegmentationClassAug/2007_001001.png'),
        ('mask', '', 'SegmentationClassAug/2007_002000.png'), ('mask', 'boat', 'SegmentationClassAug/2007_003000.png')}
    assert 'holds the value 99' in next(fault.problem for fault in faults if '002000' in fault.file)
    (splits / 'val' / 'fold0.txt').write_text('JPEGImages/2007_000000.jpg SegmentationClassAug/2007_000000.png\n')
    images, faults = check_dataset(cfg)
    assert images == 0 and [fault.kind for fault in faults] == ['data'] and 'fold0.txt, line 1' in faults[0].problem


def test_instances_of_coco(tmp_path: Path) -> None:
    """All masks are in one file, so that a bad image must not count for the others."""
    cfg = dict(type='COCO20iDataset', data_root=str(write_coco(tmp_path)), split_dir=None, fold=0, min_pixels=1,
               num_shots=1, pipeline=PIPELINE)
    assert check_dataset(cfg) == (60, [])
    (tmp_path / 'val2014' / 'COCO_val2014_000000000004.jpg').write_bytes(b'')
    images, faults = check_dataset(cfg)
    assert images == 60 and brief(faults, tmp_path) == {('image', '', 'val2014/COCO_val2014_000000000004.jpg')}


def test_an_ordinary_dataset(tmp_path: Path) -> None:
    root = write_voc(tmp_path, 1)
    cfg = dict(type='BaseSegDataset', data_root=str(root), img_suffix='.jpg', seg_map_suffix='.png',
               data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'), reduce_zero_label=False,
               metainfo=dict(classes=[str(number) for number in range(21)]), pipeline=[])
    assert check_dataset(cfg) == (20, [])
    (root / 'SegmentationClassAug' / '2007_000000.png').unlink()
    (root / 'JPEGImages' / '2007_001000.jpg').write_bytes(b'')
    save_mask(root / 'SegmentationClassAug' / '2007_002000.png', boxes_mask([(21, 2, 2, 12, 12)]))
    save_mask(root / 'SegmentationClassAug' / '2007_003000.png', np.zeros((8, 8)))
    images, faults = check_dataset(dict(type='RepeatableDataset', dataset=cfg))
    assert images == 20 and brief(faults, root) == {
        ('missing', '', 'SegmentationClassAug/2007_000000.png'), ('image', '', 'JPEGImages/2007_001000.jpg'),
        ('mask', '', 'SegmentationClassAug/2007_002000.png'), ('mask', '', 'SegmentationClassAug/2007_003000.png')}

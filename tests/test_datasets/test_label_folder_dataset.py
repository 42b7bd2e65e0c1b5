"""Own pictures with a label for every pixel: what is read, and which class lists are refused."""
from pathlib import Path
from typing import Sequence

import numpy as np
import pytest
from PIL import Image

from mmfss.datasets import LabelFolderDataset
from mmfss.datasets.checking import check_dataset
from mmfss.datasets.label_folder_dataset import label_names
from tests.tiny.own_data import write_labelled_pictures


def build(root: Path, classes: Sequence[str], split: str = 'train') -> LabelFolderDataset:
    return LabelFolderDataset(str(root), classes=classes, split=split, pipeline=[])


def test_reads_pairs(tmp_path: Path) -> None:
    write_labelled_pictures(tmp_path, values=(0, 1, 2))
    Image.new('RGB', (60, 40)).save(tmp_path / 'images/train/b.PNG')
    Image.fromarray(np.full((40, 60), 255, np.uint8)).save(tmp_path / 'labels/train/b.png')
    (tmp_path / 'images/train/Thumbs.db').touch()
    dataset = build(tmp_path, ['sky', 'road', 'car'])
    info = dataset.get_data_info(4)
    assert len(dataset) == 5 and len(build(tmp_path, ['sky', 'road', 'car'], 'val')) == 2
    assert (Path(info['img_path']).name, Path(info['seg_map_path']).name) == ('b.PNG', 'b.png')
    assert dataset.metainfo['classes'] == ('sky', 'road', 'car') and dataset.label_map is None


def test_one_class_has_a_background(tmp_path: Path) -> None:
    write_labelled_pictures(tmp_path, values=(0, 1))
    assert build(tmp_path, ['cat']).metainfo['classes'] == ('background', 'cat')


@pytest.mark.parametrize(('values', 'classes', 'message'), [
    ((0, 1, 2), ['sky', 'road'], r'4 of 4 label files .*\n.*the value 2, but there are 2 classes \("sky", "road"'),
    ((0, 7), ['cat'], r'the value 7, but there are 2 classes \("background", "cat"\): allowed are 0 to 1, and 255'),
    ((0, 255), ['cat'], 'show only "background"; nothing can be learned.*write 1 for the object'),
    ((255, ), ['cat'], 'show no class'),
])
def test_wrong_class_lists(tmp_path: Path, values: Sequence[int], classes: list[str], message: str) -> None:
    write_labelled_pictures(tmp_path, values)
    with pytest.raises(ValueError, match=message):
        build(tmp_path, classes)


def test_a_class_that_no_picture_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr('mmfss.datasets.label_folder_dataset.print_log', lambda text, *_: said.append(text))
    write_labelled_pictures(tmp_path, values=(0, 1))
    build(tmp_path, ['sky', 'road', 'car'])
    assert len(said) == 1 and 'shows "car". Are the classes in the order of the label values?' in said[0]


def test_faulty_files(tmp_path: Path) -> None:
    write_labelled_pictures(tmp_path, values=(0, 1))
    label = tmp_path / 'labels/train/0.png'
    Image.new('L', (50, 40)).save(label)
    with pytest.raises(ValueError, match=r'0.png" has size \(40, 50\) \(H, W\), its picture \(40, 60\)'):
        build(tmp_path, ['sky', 'road'])
    Image.new('RGB', (60, 40)).save(label)
    with pytest.raises(ValueError, match='1 of 4 label files.*\n.*0.png is a picture of mode RGB'):
        build(tmp_path, ['sky', 'road'])
    label.unlink()
    with pytest.raises(FileNotFoundError, match='1 of 4 pictures have no labels, first ".*images/train/0.jpg"'):
        build(tmp_path, ['sky', 'road'])
    with pytest.raises(FileNotFoundError, match='images/test" does not exist. Expected are images/test and labels'):
        build(tmp_path, ['sky', 'road'], 'test')


def test_picture_turned_by_exif(tmp_path: Path) -> None:
    """Labels belong to the picture as it is loaded, upright."""
    write_labelled_pictures(tmp_path, values=(0, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (40, 60)).save(tmp_path / 'images/train/0.jpg', exif=exif)
    assert len(build(tmp_path, ['sky', 'road'])) == 4
    Image.new('RGB', (60, 40)).save(tmp_path / 'images/train/0.jpg', exif=exif)
    with pytest.raises(ValueError, match=r'size \(40, 60\) \(H, W\), its picture \(60, 40\)'):
        build(tmp_path, ['sky', 'road'])


@pytest.mark.parametrize('classes', [[], ['a', 'a'], ['a', ' '], ['x'] * 256, 'cat'])
def test_refused_names(classes: list[str]) -> None:
    with pytest.raises(ValueError, match='classes must be'):
        label_names(classes)


def test_all_faults_are_listed(tmp_path: Path) -> None:
    write_labelled_pictures(tmp_path, values=(0, 1, 2))
    cfg = dict(type='LabelFolderDataset', data_root=str(tmp_path), classes=['sky', 'road'])
    images, faults = check_dataset(cfg)
    assert images == len(faults) == 4 and all('holds the value 2' in fault.problem for fault in faults)

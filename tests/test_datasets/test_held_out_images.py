"""Images of own class folders that training leaves to the test."""
from pathlib import Path

import pytest

from mmfss.datasets import ImageFolderDataset
from tests.tiny.own_data import write_class_folders


def images(root: Path, split: str, **options: object) -> dict[str, set[str]]:
    dataset = ImageFolderDataset(str(root), [], split=split, **dict(dict(fold=None, holdout=0.25), **options))
    return {name: set(dataset.lists.images_of(number)) for number, name in enumerate(dataset.index.classes)}


def test_every_image_is_trained_or_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr('mmfss.datasets.folder_datasets.print_log', lambda text, *_: said.append(text))
    write_class_folders(tmp_path, dict(cat=12, dog=5, few=3))
    train, test = images(tmp_path, 'train'), images(tmp_path, 'test')
    assert images(tmp_path, 'val') == test
    assert not train['cat'] & test['cat'] and not train['dog'] & test['dog']
    assert {name: (len(train[name]), len(test[name])) for name in train} == dict(cat=(9, 3), dog=(3, 2), few=(3, 3))
    assert test['cat'] == {f'cat/images/{number:02d}.png' for number in (2, 6, 10)}
    assert len(said) == 3 and all('"few": fewer than four images' in line for line in said)


def test_with_folds(tmp_path: Path) -> None:
    write_class_folders(tmp_path, dict(a=8, b=8, c=8, d=8))
    train, test = (images(tmp_path, split, fold=0) for split in ('train', 'test'))
    assert {name: len(found) for name, found in train.items()} == dict(a=0, b=6, c=6, d=6)
    assert {name: len(found) for name, found in test.items()} == dict(a=2, b=0, c=0, d=0)


def test_refused_share(tmp_path: Path) -> None:
    write_class_folders(tmp_path, dict(a=4))
    with pytest.raises(ValueError, match='holdout must lie between 0 and 1, got 1'):
        images(tmp_path, 'train', holdout=1)

import os
from pathlib import Path

import pytest

from mmfss.utils.names import (
    MAX_BYTES,
    did_you_mean,
    few,
    file_name,
    is_clutter,
    list_names,
    normal_name,
    real_path,
    visible,
)

NFC, NFD = 'caf\xe9', 'cafe\u0301'


@pytest.mark.parametrize('name', ['.DS_Store', '._a.jpg', '__MACOSX', 'Thumbs.db', 'thumbs.db', '.ipynb_checkpoints',
                                  '.git', 'desktop.ini', '@eaDir'])
def test_clutter(tmp_path: Path, name: str) -> None:
    assert is_clutter(name)
    (tmp_path / name).mkdir()
    (tmp_path / 'cat').mkdir()
    assert list_names(str(tmp_path), folders=True) == {'cat': 'cat'} and list_names(str(tmp_path)) == {}


def test_files_and_folders(tmp_path: Path) -> None:
    for name in ('b.JPG', 'a.png', 'c.txt', '._b.jpg', 'z.jpeg'):
        (tmp_path / name).touch()
    (tmp_path / 'folder.jpg').mkdir()
    assert list(list_names(str(tmp_path), ('.jpg', '.jpeg', '.png'))) == ['a.png', 'b.JPG', 'z.jpeg']
    assert list(list_names(str(tmp_path), folders=True)) == ['folder.jpg']


def test_names_that_look_alike(tmp_path: Path) -> None:
    (tmp_path / NFD).touch()
    if (tmp_path / NFC).exists():
        pytest.skip('The file system knows one of the two forms only.')
    assert normal_name(NFD) == NFC and list_names(str(tmp_path)) == {NFC: NFD}
    assert real_path(str(tmp_path / NFC)) == str(tmp_path / NFD)
    (tmp_path / NFC).touch()
    assert real_path(str(tmp_path / NFC)) == str(tmp_path / NFC)
    with pytest.raises(ValueError, match=r"two names that look alike, 'caf\\xe9' and 'cafe\\u0301'"):
        list_names(str(tmp_path))


def test_real_path_of_nested_folders(tmp_path: Path) -> None:
    (tmp_path / NFD / 'images').mkdir(parents=True)
    (tmp_path / NFD / 'images' / f'{NFD}.jpg').touch()
    found = real_path(str(tmp_path / NFC / 'images' / f'{NFC}.jpg'))
    assert os.path.isfile(found) and os.path.basename(found) in (f'{NFD}.jpg', f'{NFC}.jpg')
    # What is added later is found too; what does not exist stays as it is.
    missing = str(tmp_path / NFC / 'images' / f'{NFC}2.jpg')
    assert not os.path.exists(real_path(missing))
    (tmp_path / NFD / 'images' / f'{NFD}2.jpg').touch()
    os.utime(tmp_path / NFD / 'images', ns=(1, 1))
    assert os.path.isfile(real_path(missing))


def test_visible() -> None:
    assert visible('\ufeffcat\u200b\xa0' + NFD + os.fsdecode(b'\xe9')) == '\\ufeffcat\\u200b\\xa0cafe\\u0301\\udce9'
    # The spelling of other scripts stays.
    for text in (NFC, '\u4e2d \u6587', '\u0939\u093f\u0928\u094d\u0926\u0940', "it's"):
        assert visible(text) == text
    assert few(['a', '\ufeffb'], 2) == '"a", "\\ufeffb"' and few('abcd', 1) == '"a" and 3 more'


def test_file_names() -> None:
    assert file_name('mug 1_' + NFC, '.png') == f'mug 1_{NFC}.png'
    assert file_name('a/b\\c\n' + os.fsdecode(b'\xe9'), '.png') == 'a%2Fb%5Cc%0A%E9.png'
    long = [file_name('\u4e2d' * 90 + end, '.png') for end in ('', 'a', 'b')]
    assert len(set(long)) == 3 and all(len(name.encode()) <= MAX_BYTES and name.endswith('.png') for name in long)
    assert file_name('x' * (MAX_BYTES - 4), '.png') == 'x' * (MAX_BYTES - 4) + '.png'


def test_suggestions() -> None:
    known = ['max_iters', 'max_epochs', 'val_interval']
    assert did_you_mean('max_iter', known, limit=1) == ' Did you mean max_iters?'
    assert did_you_mean('max_iter', known, limit=1, prefix='train_cfg.') == ' Did you mean train_cfg.max_iters?'
    assert did_you_mean('xyz', known) == '' and did_you_mean('xyz', []) == ''
    assert len(did_you_mean('max', known, limit=2, cutoff=0.).split(', ')) == 2

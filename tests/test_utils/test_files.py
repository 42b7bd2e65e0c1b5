import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from mmfss.utils.files import atomic_path, dump_json, read_text, write_text


class TestAtomicPath:

    def test_result_appears_only_at_the_end(self, tmp_path: Path) -> None:
        target = tmp_path / 'new' / 'folder' / 'mask.png'
        with atomic_path(target) as temporary:
            temporary.write_bytes(b'12')
            assert temporary.suffix == '.png'
            assert temporary.parent == target.parent
            assert not target.exists()
        assert target.read_bytes() == b'12'
        assert os.listdir(target.parent) == ['mask.png']

    def test_failure_keeps_the_old_file(self, tmp_path: Path) -> None:
        target = tmp_path / 'a.txt'
        target.write_text('old')
        with pytest.raises(ValueError, match='stop'), atomic_path(target) as temporary:
            temporary.write_text('half of the ne')
            raise ValueError('stop')
        assert target.read_text() == 'old'
        assert os.listdir(tmp_path) == ['a.txt']

    def test_permissions_are_those_of_an_ordinary_file(self, tmp_path: Path) -> None:
        (tmp_path / 'plain').touch()
        with atomic_path(tmp_path / 'ours') as temporary:
            temporary.touch()
        modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ('plain', 'ours')]
        assert modes[0] == modes[1]


def test_dump_json_takes_numpy_tensors_and_nan(tmp_path: Path) -> None:
    dump_json(
        {
            'miou': np.float32(0.5),
            'absent': float('nan'),
            'per_class': np.array([1.0, np.inf]),
            'count': np.int64(3),
            'loss': torch.tensor(2.0),
            'path': Path('a/b'),
            3: (True, None),
        }, tmp_path / 'r.json')
    assert json.loads((tmp_path / 'r.json').read_text()) == {
        'miou': 0.5,
        'absent': None,
        'per_class': [1.0, None],
        'count': 3,
        'loss': 2.0,
        'path': 'a/b',
        '3': [True, None],
    }


def test_names_of_files_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b'caf\xe9.jpg')
    dump_json([name, 'café'], tmp_path / 'a.json')
    assert json.loads((tmp_path / 'a.json').read_text(encoding='utf-8')) == [name, 'café']


@pytest.mark.parametrize('length', [200, 250, 251])
def test_names_near_the_limit_of_file_systems(tmp_path: Path, length: int) -> None:
    target = tmp_path / ('\xe9' * (length // 2) + 'x' * (length % 2) + '.png')
    with atomic_path(target) as temporary:
        temporary.write_text('a')
        assert temporary.suffix == '.png'
    assert [path.read_text() for path in tmp_path.iterdir()] == ['a'] and target.is_file()


@pytest.mark.parametrize('content', [
    b'caf\xc3\xa9\nb\n', b'\xef\xbb\xbfcaf\xc3\xa9\r\nb\r\n', 'caf\xe9\rb\r'.encode(), 'caf\xe9\nb\n'.encode('utf-16'),
    '\ufeffcaf\xe9\r\nb\n'.encode('utf-16-be')])
def test_text_of_any_editor(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'list.txt').write_bytes(content)
    assert read_text(tmp_path / 'list.txt') == 'caf\xe9\nb\n'


def test_text_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / 'list.txt').write_bytes(b'caf\xe9\n')
    with pytest.raises(ValueError, match='list.txt is not a text file in UTF-8: .*Save it as UTF-8'):
        read_text(tmp_path / 'list.txt')


def test_texts_with_names_that_are_no_text(tmp_path: Path) -> None:
    write_text(os.fsdecode(b'| caf\xe9 |'), tmp_path / 'table.md')
    assert (tmp_path / 'table.md').read_text(encoding='utf-8') == '| caf\\udce9 |'

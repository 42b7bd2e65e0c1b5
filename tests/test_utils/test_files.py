import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from mmfss.utils.files import atomic_path, dump_json


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

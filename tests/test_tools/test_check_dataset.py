"""The command that lists all faults of a dataset, run in this process."""
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from tests.tiny.data import PIPELINE, write_class_folders

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'check_dataset.py'


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):

    def call(*args: Any) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args), '--jobs', '0'])
        status = 0
        try:
            runpy.run_path(str(TOOL), run_name='__main__')
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call


def test_folders(run, tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / 'mine', ('ant', 'bee'))
    status, text = run(root)
    assert status == 0 and '8 images read, 0 faults' in text
    (root / 'bee' / 'masks' / '1.png').write_bytes(b'')
    (root / 'bee' / 'images' / '2.jpg').write_bytes(b'')
    status, text = run(root)
    assert status == 1 and 'bee/masks/1.png' in text and '8 images read, 2 faults (mask: 1, image: 1)' in text
    found = json.loads((tmp_path / 'work_dirs' / 'check_dataset' / 'mine.json').read_text())
    assert found['images'] == {'folder': 8} and found['counts'] == dict(mask=1, image=1)
    assert [Path(fault['file']).name for fault in found['faults']] == ['1.png', '2.jpg']
    status, text = run(root / 'ant', '--shots', 3, '--out', 'ant.json')  # one class folder
    assert status == 0 and '4 images read' in text and (tmp_path / 'ant.json').is_file()
    status, text = run(root / 'ant', '--shots', 4)
    assert status == 1 and 'has 4 image(s)' in ' '.join(text.split())


def test_loaders_of_a_config(run, tmp_path: Path) -> None:
    write_class_folders(tmp_path / 'mine')
    data = dict(type='ImageFolderDataset', data_root='mine', fold=0, num_folds=2, pipeline=PIPELINE)
    Config(dict(
        train_dataloader=dict(dataset=dict(data, split='train')), val_dataloader=dict(dataset=dict(data, split='val')),
        test_dataloader=dict(dataset=dict(data, split='val')))).dump(tmp_path / 'mine.py')
    status, text = run('mine.py')
    assert status == 0 and 'val, test: ImageFolderDataset' in text and '16 images read' in text  # what is equal, once
    (tmp_path / 'mine' / 'dog' / 'masks' / '0.png').write_bytes(b'')
    assert run('mine.py', '--splits', 'test')[0] == 0
    status, text = run('mine.py', '--splits', 'train')
    assert status == 1 and '8 images read, 1 faults' in text


@pytest.mark.parametrize('args, message', [
    (('nowhere.py', ), 'nowhere.py'), (('empty', '--shots', 0), '--shots 1 or more, got 0'),
    (('empty', ), 'holds no class folder')])
def test_errors(run, tmp_path: Path, args: tuple, message: str) -> None:
    (tmp_path / 'empty').mkdir()
    status, text = run(*args)
    assert status == 1 and message in ' '.join(text.split()) and 'Traceback' not in text

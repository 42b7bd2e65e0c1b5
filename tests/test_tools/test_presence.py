"""tools/analysis_tools/presence.py: calibration on training classes, measurement on tested ones."""
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmfss.models.segmentors import PresenceJudge
from tests.tiny.data import PIPELINE, write_class_folders
from tests.tiny.model import TINY_MODEL

TOOL = Path(__file__).parents[2] / 'tools/analysis_tools/presence.py'


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('presence')
    write_class_folders(root / 'data', ('ant', 'bee', 'cat', 'dog', 'elk', 'fox'), 3)

    def loader(split: str, **changes: Any) -> dict:
        return dict(dataset=dict(
            type='ImageFolderDataset', data_root=str(root / 'data'), split=split, fold=0, num_folds=2,
            pipeline=PIPELINE, sampler=dict(type='UniformEpisodeSampler', num_episodes=6), **changes))

    model = {**TINY_MODEL, 'head': dict(type='PrototypeMatchingHead')}
    for name, head, val in (('good', model, dict(classes_of='train')), ('tested', model, {}),
                            ('trained', TINY_MODEL, dict(classes_of='train'))):
        Config(dict(default_scope='mmfss', model=head, val_dataloader=loader('val', **val),
                    test_dataloader=loader('test'))).dump(root / f'{name}.py')
    return root


def call(root: Path, monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, 'argv', ['presence.py', *args, '--out', 'out', '--device', 'cpu'])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_calibrates_and_measures(root: Path, monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture) -> None:
    call(root, monkeypatch, 'good.py', 'none', '--episodes', '4')
    path, = (root / 'out').glob('*_good.json')
    record = json.loads(path.read_text())
    assert set(record['calibrated_on']['fold_class_ids']).isdisjoint(record['measured_on']['fold_class_ids'])
    assert record['areas']['presence/num_present'] == 4 and 0 <= record['areas']['presence/presence'] <= 100
    assert PresenceJudge.load(path).calibration.weights == record['calibration']['weights']
    table = (root / 'out' / 'table.md').read_text()
    assert table in capsys.readouterr().out and '| good | ' in table


@pytest.mark.parametrize(('arguments', 'message'), [
    (('tested.py', ), 'show the tested classes'),
    (('trained.py', ), 'must be trained'),
    (('none', ), 'No config'),
])
def test_errors(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, arguments: tuple,
                message: str) -> None:
    with pytest.raises(SystemExit):
        call(root, monkeypatch, *arguments)
    assert message in capsys.readouterr().err

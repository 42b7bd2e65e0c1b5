import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_explanation.explaining import write_run
from tests.tiny.data import write_class_folders

TOOL = Path(__file__).parents[2] / 'tools' / 'select_support.py'


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp('select'))


def call(monkeypatch: pytest.MonkeyPatch, config: Path, *args: Any) -> None:
    monkeypatch.setattr(sys, 'argv', ['select_support.py', *map(str, (config, config.with_suffix('.pth'), *args))])
    runpy.run_path(str(TOOL), run_name='__main__')


SMALL = ('--pool', 2, '--queries', 1, '--test-queries', 1, '--draws', 2)


def test_of_a_config_and_of_a_folder(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture) -> None:
    call(monkeypatch, config, *SMALL, '--out', tmp_path / 'a', '--classes', 'bee', '--explainer-options',
         'masked_affex.mask_blur_kernel_size=1')
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / 'a' / 'select_support.json').read_text())
    assert [found['class_name'] for found in results['classes']] == ['bee'] and results['markdown'] in printed
    assert results['explainer'] == dict(type='masked_affex', mask_blur_kernel_size=1)
    assert {row['choice'] for row in results['rows']} == {'attribution', 'leave one out', 'alone', 'whole pool'}
    folder = write_class_folders(tmp_path / 'own', classes=['mug', 'pen'])
    call(monkeypatch, config, *SMALL, '--out', tmp_path / 'b', '--folder', folder, '--explainer', 'random')
    results = json.loads((tmp_path / 'b' / 'select_support.json').read_text())
    assert [found['class_name'] for found in results['classes']] == ['mug', 'pen']


def test_classes_called_by_numbers(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture) -> None:
    folder = write_class_folders(tmp_path / 'own', classes=['1', '10', '2'])
    for name, found in (('1', '1'), ('10', '10'), ('id:1', '10')):
        call(monkeypatch, config, *SMALL, '--out', tmp_path / 'out', '--folder', folder, '--explainer', 'random',
             '--classes', name)
        results = json.loads((tmp_path / 'out' / 'select_support.json').read_text())
        assert [item['class_name'] for item in results['classes']] == [found]
    with pytest.raises(SystemExit):
        call(monkeypatch, config, '--out', tmp_path, '--folder', folder, '--classes', '0')
    assert 'No class is called "0", but others are called by numbers' in capsys.readouterr().err


@pytest.mark.parametrize('args, message', [
    (('--explainer', 'masked'), 'Unknown explainer "masked"'),
    (('--classes', 'dog'), '"dog" is not among the classes of the test: ant, bee'),
    (('--pool', 9), 'make --pool or --queries smaller'),
    (('--shots', 12), 'between 1 and pool - 1'),
    (('--folder', 'nowhere'), 'nowhere'),
    (('--seed', -1), 'seed must be 0 or more, got -1'),
    (('--batch-size', 0), 'batch_size must be 1 or more, got 0'),
    (('--device', 'gpu'), 'The device "gpu" cannot be used'),
])
def test_errors(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
                args: tuple, message: str) -> None:
    with pytest.raises(SystemExit):
        call(monkeypatch, config, '--out', tmp_path, *args)
    assert message.lower() in capsys.readouterr().err.lower()

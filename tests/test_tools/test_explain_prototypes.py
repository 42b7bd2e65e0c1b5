"""tools/explain.py on models with learned prototypes, run in this process."""
import json
import runpy
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from tests.test_explanation.prototype_run import write_models

TOOL = Path(__file__).parents[2] / 'tools' / 'explain.py'


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('models')
    write_models(root)
    return root


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture):

    def call_tool(*args: Any, changes: dict[str, Any] | None = None, checkpoint: Path = models / 'groups.pth') -> str:
        cfg = Config.fromfile(models / 'groups.py')
        cfg.merge_from_dict(changes or {})
        cfg.experiment_name = str(uuid.uuid4())
        cfg.dump(tmp_path / 'groups.py')
        monkeypatch.setattr(sys, 'argv', ['explain.py', *map(str, (tmp_path / 'groups.py', checkpoint, *args))])
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return call_tool


@pytest.fixture
def fail(call, capsys: pytest.CaptureFixture):

    def failing_call(*args: Any, **changes: Any) -> str:
        with pytest.raises(SystemExit) as error:
            call(*args, changes=changes)
        assert error.value.code == 1
        before, found, message = capsys.readouterr().err.partition('error: ')
        assert found and 'Traceback' not in before + message
        return message

    return failing_call


def test_run(call, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    arguments = ('--explainer', 'prototypes', '--episodes', 3, '--panels', 1, '--region', 'ground_truth', '--seed', 2,
                 '--failures', 0.9, '--out', out)
    printed = call(*arguments)
    results = json.loads((out / 'results.json').read_text())
    assert results['markdown'] in printed and str(out / 'index.html') in printed and 'csv' not in printed
    assert (results['num_images'], results['region'], results['failure_threshold']) == (3, 'ground_truth', 0.9)
    assert results['sources'].endswith('prototypes.json') and len(list(out.glob('images/*/record.json'))) == 3
    times = [path.stat().st_mtime_ns for path in sorted(out.glob('images/*/record.json'))]
    call(*arguments)
    assert times == [path.stat().st_mtime_ns for path in sorted(out.glob('images/*/record.json'))]


def test_a_config_of_its_own(call, tmp_path: Path) -> None:
    call(changes={'test_cfg': dict(type='PrototypeExplanationLoop', num_images=1, top=2, out_dir='here')})
    assert len(list((tmp_path / 'here').glob('images/*/record.json'))) == 1


def test_sources_of_a_training_in_another_folder(call, models: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / 'elsewhere' / 'stage2' / 'joint' / 'iter_1.pth'
    sources = tmp_path / 'elsewhere' / 'stage1' / 'joint' / 'prototypes.json'
    for path, original in ((checkpoint, 'groups.pth'), (sources, 'prototypes.json')):
        path.parent.mkdir(parents=True)
        shutil.copy(models / original, path)
    call('--episodes', 1, '--panels', 0, '--out', tmp_path / 'out', checkpoint=checkpoint)
    assert json.loads((tmp_path / 'out' / 'results.json').read_text())['sources'] == str(sources)
    named = models / 'prototypes.json'
    call('--episodes', 1, '--panels', 0, '--out', tmp_path / 'out', '--sources', named, checkpoint=checkpoint)
    assert json.loads((tmp_path / 'out' / 'results.json').read_text())['sources'] == str(named)


@pytest.mark.parametrize(('arguments', 'words'), [
    (('--explainer', 'signed_affex', 'random'), ('learned prototypes', 'What works is --explainer prototypes')),
    (('--shots', 5), ('--shots is for few-shot models', )),
    (('--metrics', 'iauc'), ('--metrics is for few-shot models', )),
    (('--failures', 50), ('IoU from 0 to 1, got 50', )),
    (('--sources', 'nowhere.json'), ('looked for: nowhere.json', '--sources'))])
def test_wrong_arguments(fail, arguments: tuple, words: tuple) -> None:
    message = fail(*arguments)
    assert all(word in message for word in words), message


def test_a_model_that_nothing_explains(fail) -> None:
    message = fail(**{'model.decode_head': dict(type='FCNHead', _delete_=True, in_channels=32, channels=8)})
    assert 'decode_head: FCNHead' in message and 'ScaleProtoGroupHead' in message

"""tools/explain.py, run in this process."""
import json
import runpy
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from tests.test_explanation.explaining import write_run

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp('explain'))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture):

    def call_tool(*args: Any, path: Path = config) -> str:
        cfg = Config.fromfile(path)
        # MMEngine keeps one logger, with its stream, for each name and second.
        cfg.experiment_name = str(uuid.uuid4())
        cfg.dump(tmp_path / path.name)
        checkpoint = config.with_suffix('.pth')
        monkeypatch.setattr(sys, 'argv', ['explain.py', *map(str, (tmp_path / path.name, checkpoint, *args))])
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(TOOLS / 'explain.py'), run_name='__main__')
        return capsys.readouterr().out

    return call_tool


@pytest.fixture
def fail(call, capsys: pytest.CaptureFixture):

    def failing_call(*args: Any) -> str:
        with pytest.raises(SystemExit) as error:
            call(*args)
        assert error.value.code == 1
        before, error, message = capsys.readouterr().err.partition('error: ')
        assert error and 'Traceback' not in before + message
        return message

    return failing_call


def results(out: Path) -> dict:
    return json.loads((out / 'results.json').read_text())


class TestExplain:

    def test_any_config(self, call, tmp_path: Path) -> None:
        out = tmp_path / 'out'
        arguments = ('--explainer', 'signed_affex', 'random', '--metrics', 'miou_loss@5%', 'iauc@5%', '--shots', 2,
                     '--episodes', 2, '--seed', 3, '--region', 'ground_truth', '--panels', 1, '--out', out,
                     '--explainer-options', 'signed_affex.mask_blur_kernel_size=1', 'signed_affex.aggregation=mean')
        printed = call(*arguments)
        found = results(out)
        assert found['markdown'] in printed and str(out / 'index.html') in printed
        assert found['explainers'] == dict(
            signed_affex=dict(type='signed_affex', mask_blur_kernel_size=1, aggregation='mean'),
            random=dict(type='random'))
        assert list(found['metrics']) == ['mIoULoss@5%', 'IAUC@5%'] and found['region'] == 'ground_truth'
        episodes = found['episodes']
        assert (episodes['num_shots'], episodes['num_episodes'], episodes['seed']) == (2, 2, 3)
        assert len(list(out.glob('episodes/*/panel.png'))) == 1
        times = [path.stat().st_mtime_ns for path in sorted(out.glob('episodes/*/record.json'))]
        call(*arguments, '--resume')
        assert times == [path.stat().st_mtime_ns for path in sorted(out.glob('episodes/*/record.json'))]
        assert results(out)['scores'] == found['scores']
        call(*arguments, '--overwrite')
        assert times != [path.stat().st_mtime_ns for path in sorted(out.glob('episodes/*/record.json'))]
        assert results(out)['scores'] == found['scores']

    def test_config_that_explains(self, call, config: Path, tmp_path: Path) -> None:
        cfg = Config.fromfile(config)
        cfg.pop('work_dir')
        cfg.test_cfg = dict(
            type='ExplanationLoop', region='all', panels=0,
            explainers=dict(noise=dict(type='gaussian_noise', std=0.5), random=dict(type='random')))
        cfg.test_evaluator = [dict(type='InsertionDeletion', num_steps=2)]
        cfg.test_dataloader.dataset.sampler.num_episodes = 1
        cfg.dump(tmp_path / 'explains.py')
        call('--explainer', 'noise', path=tmp_path / 'explains.py')
        found = results(tmp_path / 'work_dirs' / tmp_path.name / 'explains' / 'explanations')
        assert found['explainers'] == dict(noise=dict(type='gaussian_noise', std=0.5))
        assert (found['region'], list(found['metrics']), found['num_episodes']) == ('all', ['IAUC'], 1)


class TestErrors:

    def test_unknown_names(self, fail) -> None:
        message = fail('--explainer', 'signed_afex')
        assert 'Unknown explainer "signed_afex". Did you mean signed_affex' in message
        assert 'Known: ' in message and 'saliency' in message
        message = fail('--metrics', 'iaucs')
        assert 'Unknown attribution metric "iaucs". Known: ' in message and 'miou_loss@P%' in message

    def test_options(self, fail) -> None:
        message = fail('--explainer', 'random', '--explainer-options', 'saliency.scaling=min_max')
        assert 'write <explainer>.<option>=<value>' in message and 'random' in message
        message = fail('--explainer', 'random', '--explainer-options', 'random.std=1')
        assert 'The explainer "random" (random) has no option "std"; it has: seed' in message
        message = fail('--explainer', 'signed_affex', '--explainer-options', 'signed_affex.aggregation=median')
        assert 'The explainer "signed_affex" cannot be built' in message and 'median' in message

    def test_unwritable_folder(self, fail, config: Path) -> None:
        message = fail('--out', config / 'here')
        assert f'The folder "{config / "here"}" cannot be written to' in message and '--out' in message

    def test_other_settings(self, call, fail, tmp_path: Path) -> None:
        common = ('--explainer', 'random', '--metrics', 'miou_loss@5%', '--episodes', 1, '--out', tmp_path / 'out')
        call(*common)
        message = fail(*common, '--region', 'all', '--shots', 2)
        assert 'region was "prediction", is "all"' in message and 'num_shots' in message and '--overwrite' in message

    def test_wrong_numbers(self, fail) -> None:
        assert 'num_episodes must be 1 or more, got 0' in fail('--episodes', 0)

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from mmengine.config import Config

from tests import processes
from tests.tiny.data import PIPELINE, write_class_folders
from tests.tiny.model import TINY_MODEL, build_tiny_model

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'


def write_config(root: Path, fold: int, **val: Any) -> Path:
    def loader(split: str, **changes: Any) -> dict:
        dataset = dict(type='ImageFolderDataset', data_root=str(root / 'data'), split=split, fold=fold, num_folds=2,
                       pipeline=PIPELINE, sampler=dict(type='UniformEpisodeSampler', num_episodes=5))
        return dict(batch_size=2, num_workers=0, dataset={**dataset, **changes},
                    sampler=dict(type='DefaultSampler', shuffle=False))

    path = root / f'tiny_fold{fold}.py'
    Config(dict(
        default_scope='mmfss', custom_imports=dict(imports=['mmfss'], allow_failed_imports=False), model=TINY_MODEL,
        env_cfg=dict(dist_cfg=dict(backend='gloo')), val_dataloader=loader('val', **val),
        test_dataloader=loader('test'), val_cfg=dict(type='ValLoop'),
        val_evaluator=dict(type='EpisodicIoU'), test_cfg=dict(type='TestLoop'),
        test_evaluator=dict(type='EpisodicIoU', num_replicates=0))).dump(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_class_folders(tmp_path / 'data')
    for fold in (0, 1):
        write_config(tmp_path, fold, seed=3)
        torch.save(dict(state_dict=build_tiny_model(seed=fold).state_dict()), tmp_path / f'tiny_fold{fold}.pth')
    return tmp_path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, root: Path) -> Callable[..., None]:

    def call_tool(name: str, *args: Any) -> None:
        monkeypatch.chdir(root)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        runpy.run_path(str(TOOLS / name), run_name='__main__')

    return call_tool


CHOOSE = 'analysis_tools/choose_threshold.py'
PAIRS = ('tiny_fold{0..1}.py', 'tiny_fold{0..1}.pth')


def read(path: Path) -> Any:
    return json.loads(path.read_text())


class TestWholeWay:

    def test_choose_and_test(self, call: Callable, root: Path, capsys: pytest.CaptureFixture,
                             monkeypatch: pytest.MonkeyPatch) -> None:
        call(CHOOSE, *PAIRS, '--step', '0.05', '--out', 'out')
        model, = read(root / 'out' / 'choices.json')['models'].values()
        for fold, other in (('0', 1), ('1', 0)):
            choice, curve = model['choices'][fold], model['curves'][other]
            assert choice['chosen_on_folds'] == [other] and choice['chosen_on_classes'] == curve['classes']
            assert choice['mIoU'] == max(curve['mIoU']) == curve['mIoU'][curve['thresholds'].index(choice['threshold'])]
            assert curve['episodes']['seed'] == 3 and curve['episodes']['classes_of'] == 'val'
        assert {tuple(curve['classes']) for curve in model['curves']} == {('ant', 'bee'), ('cat', 'dog')}
        printed = capsys.readouterr().out
        assert (root / 'out' / 'table.md').read_text() in printed and '| 0.5 |' in printed

        # What is there is not computed again.
        with monkeypatch.context() as patch:
            patch.setattr('mmfss.engine.threshold_loop.build_runner', lambda *args: pytest.fail('computed again'))
            call(CHOOSE, *PAIRS, '--step', '0.05', '--out', 'out')
        assert next(iter(read(root / 'out' / 'choices.json')['models'].values())) == model

        call('test.py', 'tiny_fold1.py', 'tiny_fold1.pth', '--threshold-from', 'out/choices.json', '--out', 'test.json')
        threshold = read(root / 'test.json')['threshold']
        assert threshold['value'] == model['choices']['1']['threshold'] and threshold['chosen_on_folds'] == [0]
        assert threshold['file'] == 'out/choices.json' and threshold['source'] in capsys.readouterr().out
        call('test.py', 'tiny_fold1.py', 'tiny_fold1.pth', '--out', 'plain.json')
        assert read(root / 'plain.json')['threshold'] == dict(value=0.5, source='default')

        # A file in which someone exchanged the folds.
        choices = read(root / 'out' / 'choices.json')
        chosen = next(iter(choices['models'].values()))['choices']
        chosen['0'], chosen['1'] = chosen['1'], chosen['0']
        (root / 'exchanged.json').write_text(json.dumps(choices))
        for tool, *rest in (('test.py', 'tiny_fold1.py', 'tiny_fold1.pth'),
                            ('cross_validate.py', 'tiny_fold1.py', '--checkpoints', 'tiny_fold1.pth')):
            with pytest.raises(SystemExit):
                call(tool, *rest, '--threshold-from', 'exchanged.json')
            assert 'was chosen on classes that are tested here: cat, dog' in capsys.readouterr().err

    def test_cross_validation_chooses_for_all_folds(self, call: Callable, root: Path,
                                                    capsys: pytest.CaptureFixture) -> None:
        arguments = ('tiny_fold{0..1}.py', '--checkpoints', 'tiny_fold{0..1}.pth', '--episodes', 4, '--out')
        call('cross_validate.py', *arguments, 'plain')
        plain = read(root / 'plain' / 'cross_validation.json')
        assert plain['thresholds']['tiny_fold0'] == dict(value=0.5, source='default')
        assert plain['chosen_on_tested_classes'] == [] and 'Threshold: 0.5, default.' in capsys.readouterr().out
        call('cross_validate.py', *arguments, 'chosen', '--choose-threshold', '--controls')
        summary = read(root / 'chosen' / 'cross_validation.json')
        call('cross_validate.py', *arguments, 'from', '--threshold-from', 'chosen/thresholds/choices.json')
        same = read(root / 'from' / 'cross_validation.json')
        assert same['rows'][0] == summary['rows'][0]
        model, = read(root / 'chosen' / 'thresholds' / 'choices.json')['models'].values()
        for fold, other in ((0, 1), (1, 0)):
            used = summary['thresholds'][f'tiny_fold{fold}']
            assert used['chosen_on_folds'] == [other]
            assert used['value'] == model['choices'][str(fold)]['threshold']
            results = {method: read(root / 'chosen' / 'results' / f'tiny_fold{fold}_1shot_{method}.json')
                       for method in ('model', 'wrong-class_support', 'copied_mask')}
            assert results['model']['threshold'] == results['wrong-class_support']['threshold'] == used
            assert results['copied_mask']['threshold'] is None
            assert same['thresholds'][f'tiny_fold{fold}'] == {**used, 'file': 'chosen/thresholds/choices.json'}
        assert 'chosen on validation episodes of fold 1' in (root / 'chosen' / 'cross_validation.md').read_text()

    def test_best_checkpoints_of_tested_classes_are_named(self, call: Callable, root: Path) -> None:
        for fold in (0, 1):
            (root / f'tiny_fold{fold}.pth').rename(root / f'best_mIoU_{fold}.pth')
        write_config(root, 1, classes_of='train')
        call('cross_validate.py', 'tiny_fold{0..1}.py', '--checkpoints', 'best_mIoU_{0..1}.pth', '--episodes', 2,
             '--out', 'out')
        assert read(root / 'out' / 'cross_validation.json')['chosen_on_tested_classes'] == ['tiny_fold0']
        text = (root / 'out' / 'cross_validation.md').read_text()
        assert 'The checkpoints of tiny_fold0 were chosen by validation on the tested classes' in text

    def test_own_validation_of_training_classes(self, call: Callable, root: Path) -> None:
        write_config(root, 0, classes_of='train')
        call(CHOOSE, 'tiny_fold0.py', 'tiny_fold0.pth', '--step', '0.1', '--episodes', 3, '--seed', 8, '--out', 'out')
        model, = read(root / 'out' / 'choices.json')['models'].values()
        curve, = model['curves']
        assert model['choices']['0']['chosen_on_classes'] == curve['classes'] == ['cat', 'dog']
        assert (curve['episodes']['num_episodes'], curve['episodes']['seed']) == (3, 8)

    def test_curve_alone(self, call: Callable, root: Path, capsys: pytest.CaptureFixture) -> None:
        call(CHOOSE, 'tiny_fold0.py', 'tiny_fold0.pth', '--step', '0.25', '--curve-only', '--out', 'out')
        model, = read(root / 'out' / 'choices.json')['models'].values()
        assert model['choices'] == {} and len(model['curves'][0]['mIoU']) == 3
        with pytest.raises(SystemExit):
            call('test.py', 'tiny_fold0.py', 'tiny_fold0.pth', '--threshold-from', 'out/choices.json')
        assert 'curves alone' in capsys.readouterr().err

    def test_two_processes(self, call: Callable, root: Path) -> None:
        """Five episodes in batches of two: one process has more than the other, and none is counted twice."""
        call(CHOOSE, *PAIRS, '--step', '0.05', '--out', 'one')
        environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
        done = processes.run(TOOLS / CHOOSE, *PAIRS, '--step', '0.05', '--out', 'two', '--launcher', 'pytorch',
                             cwd=root, env=environment, distributed=2)
        assert done.returncode == 0, done.stderr[-3000:]
        one, two = (read(root / folder / 'choices.json')['models'] for folder in ('one', 'two'))
        assert one == two


@pytest.mark.parametrize(('arguments', 'message'), [
    (('tiny_fold0.py', 'tiny_fold0.pth'), 'show the classes of its test'),
    (('tiny_fold0.pth', ), 'No config (.py)'),
    (('tiny_fold{0..1}.py', 'tiny_fold0.pth'), '1 checkpoints'),
    (('tiny_fold{0..1}.py', ), 'There is no checkpoint of tiny_fold0.py'),
    (('tiny_fold{0,0}.py', 'tiny_fold{0,0}.pth'), 'got the folds [0, 0]'),
    ((*PAIRS, '--step', '0.3'), 'must divide 0.5'),
    ((*PAIRS, '--episodes', '0'), 'must be 1 or more'),
    ((*PAIRS, '--cfg-options', 'val_dataloader.dataset.split=test'), 'never on those of the test'),
])
def test_errors_are_one_line(call: Callable, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch,
                             arguments: tuple, message: str) -> None:
    monkeypatch.setattr('mmfss.engine.threshold_loop.build_runner', lambda *args: pytest.fail('work was done'))
    with pytest.raises(SystemExit) as error:
        call(CHOOSE, *arguments)
    printed = capsys.readouterr().err
    assert error.value.code == 1 and message in printed.splitlines()[-1] and 'Traceback' not in printed


def test_cross_validation_refuses_before_training(call: Callable, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        call('cross_validate.py', 'tiny_fold0.py', '--train', '--choose-threshold', '--work-dirs', 'new')
    assert 'show the classes of its test' in capsys.readouterr().err

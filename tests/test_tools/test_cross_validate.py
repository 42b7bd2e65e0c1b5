import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config

from mmfss.commands.cross_validate import main
from mmfss.commands.runs import cross_validate as work
from tests import processes
from tests.tiny.data import PIPELINE, write_class_folders
from tests.tiny.model import TINY_MODEL, build_tiny_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    """The command's work."""
    return work


def write_config(root: Path, fold: int) -> None:
    def loader(split: str, sampler: str) -> dict:
        dataset = dict(
            type='ImageFolderDataset', data_root=str(root / 'data'), split=split, fold=fold, num_folds=2,
            pipeline=PIPELINE, sampler=dict(type='UniformEpisodeSampler', num_episodes=6))
        return dict(batch_size=2, num_workers=0, dataset=dataset, sampler=dict(type=sampler))

    Config(dict(
        default_scope='mmfss',
        custom_imports=dict(imports=['mmfss'], allow_failed_imports=False),
        randomness=dict(seed=0),
        model=TINY_MODEL,
        train_dataloader=loader('train', 'EpisodeStream'),
        train_cfg=dict(type='EpisodeTrainLoop', max_iters=2, val_interval=10),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3)),
        default_hooks=dict(checkpoint=dict(type='ExactCheckpointHook', by_epoch=False, interval=2)),
        test_dataloader={**loader('test', 'DefaultSampler'), 'sampler': dict(type='DefaultSampler', shuffle=False)},
        test_cfg=dict(type='TestLoop'), test_evaluator=dict(type='EpisodicIoU'))).dump(root / f'tiny_fold{fold}.py')


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('folds')
    write_class_folders(root / 'data')
    for fold in (0, 1):
        write_config(root, fold)
        torch.save(dict(state_dict=build_tiny_model(seed=fold).state_dict()), root / f'tiny_fold{fold}.pth')
    return root


def run(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, root: Path, *arguments: str) -> dict:
    monkeypatch.setattr(sys, 'argv', ['cross_validate.py', *arguments, '--out', str(root / 'out')])
    main()
    return json.loads((root / 'out' / 'cross_validation.json').read_text())


def train(command: list[str]) -> subprocess.CompletedProcess:
    """Run the command in a process that starts at once."""
    assert command[:3] == [sys.executable, '-m', 'mmfss.commands.train']
    return processes.run(ROOT / 'tools' / 'train.py', *command[3:])


class TestCrossValidate:

    def test_table_and_second_run(self, tool: ModuleType, monkeypatch: pytest.MonkeyPatch, root: Path,
                                  capsys: pytest.CaptureFixture) -> None:
        arguments = (f'{root}/tiny_fold{{0..1}}.py', '--checkpoints', f'{root}/tiny_fold{{0..1}}.pth', '--controls')
        first = run(tool, monkeypatch, root, *arguments)
        assert [row['method'] for row in first['rows']] == [
            'model', 'wrong-class support', 'copied mask', 'untrained prototype']
        for row in first['rows']:
            assert set(row['folds']) == {'fold 0', 'fold 1'}
            assert row['mean'] == pytest.approx(sum(row['folds'].values()) / 2)
            assert 0 <= row['mean'] <= 100 and 0 < row['fb_iou'] <= 100
        model, wrong, copied, _ = (row['mean'] for row in first['rows'])
        assert first['times_best_control']['1'] == pytest.approx(model / max(wrong, copied))
        assert any('not the official ones' in reason for reason in first['not_comparable_because'])
        printed = capsys.readouterr().out
        assert 'Not comparable with papers' in printed and first['markdown'] in printed
        assert (root / 'out' / 'cross_validation.md').read_text().startswith(first['markdown'])

        # Only the fold whose checkpoint changed is tested again.
        tested = []
        evaluate = tool.evaluate_methods
        monkeypatch.setattr(tool, 'evaluate_methods',
                            lambda cfg, *args: tested.append((cfg.filename, args[1])) or evaluate(cfg, *args))
        torch.save(dict(state_dict=build_tiny_model(seed=7).state_dict()), root / 'tiny_fold1.pth')
        second = run(tool, monkeypatch, root, *arguments[:-1])
        assert [methods for _, methods in tested] == [[], ['model']] and tested[1][0].endswith('tiny_fold1.py')
        assert second['rows'][0]['folds']['fold 0'] == first['rows'][0]['folds']['fold 0']
        assert second['times_best_control'] is None

    def test_episodes_as_asked(self, tool: ModuleType, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        summary = run(tool, monkeypatch, root, f'{root}/tiny_fold0.py', '--checkpoints', f'{root}/tiny_fold0.pth',
                      '--shots', '2', '--episodes', '3', '--seed', '5')
        assert [(row['method'], row['shots']) for row in summary['rows']] == [('model', 2)]
        stored = json.loads((root / 'out' / 'results' / 'tiny_fold0_2shot_model.json').read_text())
        assert stored['metrics']['episodes'] == 3
        assert (stored['episodes']['num_shots'], stored['episodes']['seed']) == (2, 5)

    def test_models_side_by_side(self, tool: ModuleType, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        other = root / 'other'
        other.mkdir()
        for fold in (0, 1):
            cfg = Config.fromfile(root / f'tiny_fold{fold}.py')
            cfg.dump(other / f'tiny_fold{fold}.py')
            cfg.model.backbone.depth = 34
            cfg.dump(other / f'deep_fold{fold}.py')
            torch.save(dict(state_dict=build_tiny_model(seed=3).state_dict()), other / f'tiny_fold{fold}.pth')
        pattern = f'{{{root},{other}}}/tiny_fold{{0..1}}'
        summary = run(tool, monkeypatch, root, pattern + '.py', '--checkpoints', pattern + '.pth', '--controls',
                      '--episodes', '2', '--shots', '1', '2')
        first, second = f'{root.name}/tiny', 'other/tiny'
        for shots in (1, 2):
            rows = [row for row in summary['rows'] if row['shots'] == shots]
            # What depends on the features alone is not tested again.
            assert [row['method'] for row in rows] == [
                first, f'{first}, wrong-class support', 'copied mask', 'untrained prototype', second,
                f'{second}, wrong-class support']
            assert all(set(row['folds']) == {'fold 0', 'fold 1'} for row in rows)
        assert set(summary['checkpoints']) == {
            f'{root.name}_tiny_fold0', f'{root.name}_tiny_fold1', 'other_tiny_fold0', 'other_tiny_fold1'}
        assert tool.features_key(Config.fromfile(other / 'deep_fold0.py')) != tool.features_key(
            Config.fromfile(other / 'tiny_fold0.py'))

    def test_trains_what_is_missing(self, tool: ModuleType, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        arguments = (f'{root}/tiny_fold0.py', '--work-dirs', str(root / 'runs'), '--episodes', '2')
        with pytest.raises(SystemExit):
            run(tool, monkeypatch, root, *arguments)
        monkeypatch.setattr(tool.subprocess, 'run', train)
        summary = run(tool, monkeypatch, root, *arguments, '--train')
        assert summary['checkpoints']['tiny_fold0'].endswith('runs/tiny_fold0/iter_2.pth')
        monkeypatch.setattr(tool.subprocess, 'run', lambda *args: pytest.fail('trained a second time'))
        run(tool, monkeypatch, root, *arguments, '--train')

    def test_refused_before_training(self, tool: ModuleType, monkeypatch: pytest.MonkeyPatch, root: Path,
                                     capsys: pytest.CaptureFixture) -> None:
        monkeypatch.setattr(tool.subprocess, 'run', lambda *args: pytest.fail('trained'))
        for wrong in ('--shots', '--ways', '--episodes'):
            with pytest.raises(SystemExit):
                run(tool, monkeypatch, root, f'{root}/tiny_fold0.py', '--train', '--work-dirs', f'{root}/new', wrong,
                    '0')
            assert 'must be 1 or more, got 0' in capsys.readouterr().err

    def test_errors_are_one_line(self, tool: ModuleType, monkeypatch: pytest.MonkeyPatch, root: Path,
                                 capsys: pytest.CaptureFixture) -> None:
        for arguments, message in (
            ((f'{root}/tiny_fold{{0..2}}.py', '--checkpoints', 'x.pth'), 'tiny_fold2.py'),
            ((f'{root}/tiny_fold0.py', '--checkpoints', f'{root}/none.pth'), 'none.pth'),
            ((f'{root}/tiny_fold0.py', '--work-dirs', f'{root}/empty'), 'no checkpoint of'),
            ((f'{root}/tiny_fold0.py', f'{root}/tiny_fold0.py', '--checkpoints', 'x.pth'), 'one name'),
            ((f'{root}/tiny_fold0.py', '--checkpoints', f'{root}/tiny_fold0.pth', '--shots', '0'), 'must be 1 or more'),
        ):
            with pytest.raises(SystemExit):
                run(tool, monkeypatch, root, *arguments)
            assert message in capsys.readouterr().err

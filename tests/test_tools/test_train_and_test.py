"""The train and test tools on a toy model, run in this process."""
import json
import runpy
import sys
import uuid
from pathlib import Path
from typing import Any, Dict

import pytest
import torch

from mmfss.registry import DATASETS
from tests.test_engine.toy import ToyDataset, toy_config

TOOLS = Path(__file__).parents[2] / 'tools'


@DATASETS.register_module()
class ToyEpisodes(ToyDataset):
    """A toy dataset with the arguments and the metainfo of episodes."""

    def __init__(self, num_ways: int = 1, num_shots: int = 1, num_episodes: int = 5, seed: int = 0) -> None:
        super().__init__(size=num_episodes, noise=0)
        self.metainfo: Dict[str, Any] = dict(
            num_ways=num_ways, num_shots=num_shots, seed=seed, dataset_name='toy', fold=0,
            lists='built from annotations')


@pytest.fixture
def config(tmp_path: Path) -> Path:
    cfg = toy_config(None, 'tool', max_iters=6)
    cfg.pop('work_dir'), cfg.pop('param_scheduler')
    # MMEngine keeps one logger, with its stream, for each name and second.
    cfg.experiment_name = str(uuid.uuid4())
    cfg.test_dataloader = dict(cfg.val_dataloader, dataset=dict(type='ToyEpisodes'))
    cfg.test_evaluator, cfg.test_cfg = cfg.val_evaluator, dict()
    cfg.auto_scale_lr = dict(enable=False, base_batch_size=8)
    (tmp_path / 'toy').mkdir()
    cfg.dump(tmp_path / 'toy' / 'small.py')
    return tmp_path / 'toy' / 'small.py'


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture):

    def call_tool(name: str, *args: Any) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
        runpy.run_path(str(TOOLS / f'{name}.py'), run_name='__main__')
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


def _summary(work_dir: Path) -> Dict[str, Any]:
    return json.loads((work_dir / 'train_summary.json').read_text())


def test_train_resume_and_test(config: Path, call, tmp_path: Path) -> None:
    output = call('train', config)
    work_dir = tmp_path / 'work_dirs' / 'toy' / 'small'
    assert 'training' in output and _summary(work_dir)['iterations'] == 6
    # The screen has a summary of a few lines, the log file has all.
    start, _, rest = output.partition('schedule  iterations 0 to 6')
    assert rest and start.count('\n') < 10 and 'ToyModel' in start and 'optim_wrapper' not in start
    log = Path(rest.partition('  log       ')[2].splitlines()[0])
    assert 'optim_wrapper' in (tmp_path / log).read_text()
    call('train', config, '--resume', '--cfg-options', 'train_cfg.max_iters=8')
    assert _summary(work_dir)['iterations'] == 8
    checkpoint = work_dir / 'iter_8.pth'
    output = call('test', config, checkpoint, '--shots', 5, '--ways', 2, '--episodes', 4, '--seed', 3)
    assert '2-way 5-shot, toy fold 0' in output
    results = json.loads((work_dir / 'results_2way_5shot_seed3.json').read_text())
    assert results['episodes']['lists'] == 'built from annotations'
    assert results['checkpoint'] == str(checkpoint) and results['versions']['torch'] == torch.__version__
    assert isinstance(results['metrics']['mIoU'], float)
    assert results['processes'] == 1 and results['loop'] == {} and results['protocol'] is None
    call('test', config, checkpoint, '--out', tmp_path / 'here' / 'a.json')
    assert json.loads((tmp_path / 'here' / 'a.json').read_text())['episodes']['num_shots'] == 1


def test_amp_seed_and_scaled_rate(config: Path, call, tmp_path: Path) -> None:
    call('train', config, '--work-dir', 'w', '--amp', '--seed', 7, '--auto-scale-lr', '--cfg-options',
         'train_cfg.max_iters=2')
    assert _summary(tmp_path / 'w')['seed'] == 7
    checkpoint = torch.load(tmp_path / 'w' / 'iter_2.pth', weights_only=False)
    assert 'BFloat16OptimWrapper' in checkpoint['meta']['cfg']
    # 2 episodes per iteration, 8 in the recipe.
    assert checkpoint['optimizer']['param_groups'][0]['lr'] == pytest.approx(0.01 * 2 / 8)


def test_a_second_run_into_one_folder_has_not_ended_before_its_end(
        config: Path, call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    call('train', config, '--cfg-options', 'train_cfg.max_iters=2')
    work_dir = tmp_path / 'work_dirs' / 'toy' / 'small'
    assert _summary(work_dir)['iterations'] == 2

    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr('tests.test_engine.toy.ToyModel.forward', interrupt)
    with pytest.raises(SystemExit) as error:
        call('train', config)
    assert error.value.code == 130 and not (work_dir / 'train_summary.json').exists()
    assert f'--resume {work_dir / "iter_2.pth"} continues it instead' in capsys.readouterr().out
    monkeypatch.undo()
    # What was cut off had no checkpoint yet; that of the former run is not its own.
    assert 'Nothing to resume' in call('train', config, '--resume', '--cfg-options', 'train_cfg.max_iters=4')
    assert _summary(work_dir)['iterations'] == 4


def test_nothing_to_resume_trains_from_the_start(config: Path, call) -> None:
    output = call('train', config, '--resume', '--cfg-options', 'train_cfg.max_iters=2')
    assert 'Nothing to resume in work_dirs/toy/small' in output


class TestErrors:

    def test_config(self, fail) -> None:
        assert 'toy/smal.py" does not exist. Did you mean toy/small.py?' in fail('train', 'toy/smal.py')

    @pytest.fixture(autouse=True)
    def _files(self, config: Path, tmp_path: Path) -> None:
        self.config = config
        (tmp_path / 'x.pth').touch()  # a checkpoint that does not exist is told first

    def test_option(self, fail) -> None:
        message = fail('train', self.config, '--cfg-options', 'train_cfg.max_iter=3')
        assert 'Did you mean train_cfg.max_iters' in message

    def test_missing_checkpoint(self, fail) -> None:
        assert 'The checkpoint "no.pth" does not exist' in fail('test', self.config, 'no.pth')
        assert 'The checkpoint "no.pth" does not exist' in fail('train', self.config, '--resume', 'no.pth')

    def test_not_a_checkpoint(self, fail) -> None:
        assert 'is not a checkpoint: it is a text file' in fail('test', self.config, self.config)

    @pytest.mark.parametrize('tool', ['train', 'test'])
    def test_checkpoint_of_another_model(self, fail, tool: str, tmp_path: Path) -> None:
        torch.save(dict(state_dict={'head.weight': torch.ones(1, 3)}, meta=dict(epoch=0, iter=1)), tmp_path / 'x.pth')
        args = [self.config, 'x.pth'] if tool == 'test' else [self.config, '--resume', 'x.pth']
        message = fail(tool, *args)
        assert 'The checkpoint "x.pth" is not one of this model (ToyModel, 4 entries)' in message
        assert '3 missing in the file: frozen.weight, frozen.bias, head.bias' in message
        assert 'head.weight: (1, 3) in the file, (1, 8) in the model' in message

    def test_wrong_numbers(self, fail) -> None:
        assert 'num_shots must be 1 or more, got 0' in fail('test', self.config, 'x.pth', '--shots', 0)
        assert 'num_ways must be 1 or more, got -1' in fail('test', self.config, 'x.pth', '--ways', -1)
        assert '--seed must be 0 or more' in fail('train', self.config, '--seed', -1)

    @pytest.mark.parametrize('option', ['foo', '=1', 'train_cfg.max_iters=[(1,2]'])
    def test_options_that_are_no_pairs(self, call, capsys: pytest.CaptureFixture, option: str) -> None:
        with pytest.raises(SystemExit) as error:
            call('train', self.config, '--cfg-options', option)
        assert error.value.code == 2 and f'--cfg-options {option}: ' in capsys.readouterr().err

    def test_classes_and_arguments_that_do_not_exist(self, fail) -> None:
        message = fail('train', self.config, '--cfg-options', 'model.type=TouModel')
        assert 'is "TouModel", which is not in the registry mmfss::model' in message
        self.config.write_text(self.config.read_text().replace("type='ToyModel'", "type='ToyModel', hight=3"))
        assert "wrong arguments: ToyModel.__init__() got an unexpected keyword argument 'hight'" in fail(
            'train', self.config)

    def test_a_defect_keeps_its_traceback(self, call, monkeypatch: pytest.MonkeyPatch) -> None:
        def forward(*args: Any, **kwargs: Any) -> None:
            raise KeyError('loss')
        monkeypatch.setattr('tests.test_engine.toy.ToyModel.forward', forward)
        with pytest.raises(KeyError):
            call('train', self.config)

    def test_configs_that_cannot_be_trained(self, fail) -> None:
        text = self.config.read_text()
        assert '--phases first: the config' in fail('train', self.config, '--phases', 'first')
        assert 'Several configs are trained together if they have phases' in fail('train', self.config, self.config)
        self.config.write_text(f'{text}\nphases = dict(first=dict(), second=dict())')
        assert 'the configs have first, second' in fail('train', self.config, '--phases', 'third')
        said = fail('train', self.config, '--phases', 'second')
        assert 'starts from the result of "first", which has not ended in' in said and '--load-from' in said
        assert 'phases are resumed from their own' in fail('train', self.config, '--resume', 'x.pth')
        self.config.write_text(f'{text}\noptim_wrapper = None')
        assert 'cannot be trained: it has no optim_wrapper' in fail('train', self.config, '--amp')

    def test_output_that_cannot_be_written(self, fail, tmp_path: Path) -> None:
        assert '--out is a file to write, but ' in fail('test', self.config, 'x.pth', '--out', tmp_path)
        assert 'Choose another with --out.' in fail('test', self.config, 'x.pth', '--out', self.config / 'a.json')
        assert 'Choose another with --show-dir.' in fail('test', self.config, 'x.pth', '--show-dir', self.config)

    @pytest.mark.parametrize(('launcher', 'starter'), [('pytorch', 'dist_'), ('slurm', 'slurm_'), ('mpi', 'mpirun')])
    def test_not_started_by_the_launcher(self, fail, monkeypatch: pytest.MonkeyPatch, launcher: str,
                                         starter: str) -> None:
        for variable in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
            monkeypatch.delenv(variable, raising=False)
        message = fail('test', self.config, 'x.pth', '--launcher', launcher)
        assert f'--launcher {launcher} is for processes that' in message and starter in message

    def test_nothing_to_draw(self, fail, tmp_path: Path) -> None:
        self.config.write_text(f"{self.config.read_text()}\nmodel = dict(type='EncoderDecoder', decode_head=dict())")
        assert '--show-dir draws episodes; the model of' in fail('test', self.config, 'x.pth', '--show-dir', tmp_path)

    def test_data_set_without_episodes(self, fail) -> None:
        changes = ['--cfg-options', 'test_dataloader.dataset.type=ToyDataset']
        assert 'is a ToyDataset, which has no "num_shots"' in fail('test', self.config, 'x.pth', '--shots', 5, *changes)

    def test_nothing_to_scale_to(self, fail) -> None:
        changes = ['--cfg-options', 'auto_scale_lr=None']
        assert 'has no auto_scale_lr.base_batch_size' in fail('train', self.config, '--auto-scale-lr', *changes)

    def test_work_dir_is_a_file(self, fail) -> None:
        message = fail('train', self.config, '--work-dir', self.config)
        assert 'small.py" cannot be written to' in message and '--work-dir' in message

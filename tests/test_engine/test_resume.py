import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from mmfss.utils.checkpoint import find_last_checkpoint, load_from_local
from tests import processes
from tests.test_engine.toy import DETERMINISTIC, record, run, toy_config

ROOT = Path(__file__).parents[2]
TOY = str(Path(__file__).with_name('toy.py'))
# The package may be used from its source folder.
ENVIRONMENT = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory: pytest.TempPathFactory):
    runner = run(toy_config(tmp_path_factory.mktemp('whole'), 'whole'))
    return runner.model.state_dict(), record(runner).losses


def _assert_same_end(resumed, uninterrupted) -> None:
    weights, losses = uninterrupted
    hook = record(resumed)
    assert hook.losses, 'nothing was trained after resuming'
    assert hook.losses == {step: losses[step] for step in hook.losses}
    assert all(torch.equal(weights[name], value) for name, value in resumed.model.state_dict().items())


@pytest.fixture(scope='module')
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp('crashed')
    result = processes.run(TOY, 'crash', work_dir, env=ENVIRONMENT)
    assert result.returncode == 0, result.stderr[-3000:]
    return work_dir


def test_killed_run_resumes_to_the_last_bit(crashed: Path, uninterrupted) -> None:
    """Killed at iteration 13, resumed from 10: dropout, augmentation and the order of the data go on exactly."""
    resumed = run(toy_config(crashed / 'at_iteration_13', 'after-kill', resume=True))
    assert min(record(resumed).losses) == 11
    _assert_same_end(resumed, uninterrupted)
    # Two samples for each of the ten iterations that were left, and none for those before.
    assert resumed.train_dataloader.dataset.loaded == 20


def test_killed_while_writing_a_checkpoint(crashed: Path, uninterrupted) -> None:
    """The second regular checkpoint is cut in the middle; only one is kept, and it must still be whole."""
    work_dir = crashed / 'writing_iter_10'
    last = Path((work_dir / 'last_checkpoint').read_text())
    assert load_from_local(last)['meta']['iter'] == 5
    assert [path for path in os.listdir(work_dir) if path.startswith('.iter_10.')]
    resumed = run(toy_config(work_dir, 'after-half-write', resume=True))
    _assert_same_end(resumed, uninterrupted)
    files = sorted(path.name for path in work_dir.iterdir() if path.suffix == '.pth')
    assert len(files) == 2 and files[0].startswith('best_mIoU_iter_') and files[1] == 'iter_20.pth'


def test_validation_that_was_cut_off_is_made_up_for(crashed: Path, uninterrupted) -> None:
    """Killed while the best checkpoint of the first validation is written: resuming validates again, then trains."""
    resumed = run(toy_config(crashed / 'writing_best_of_5', 'after-half-validation', resume=True))
    assert record(resumed).validated == [5, 10, 15, 20]
    _assert_same_end(resumed, uninterrupted)


def test_training_does_not_depend_on_validation(tmp_path: Path, uninterrupted) -> None:
    runner = run(toy_config(tmp_path, 'rare-validation', train_cfg__val_interval=20))
    _assert_same_end(runner, uninterrupted)


def test_other_number_of_processes_is_said(tmp_path: Path) -> None:
    runner = run(toy_config(tmp_path, 'one', max_iters=5))
    path = Path(runner.message_hub.get_info('last_ckpt'))
    checkpoint = load_from_local(path)
    checkpoint['random_state'] *= 2
    torch.save(checkpoint, path)
    resumed = run(toy_config(tmp_path, 'two', max_iters=6, resume=True))
    log = Path(resumed.log_dir, f'{resumed.timestamp}.log').read_text()
    assert 'had 2 processes, this one has 1' in log


def test_a_copied_folder_is_resumed_and_the_former_one_left_alone(tmp_path: Path) -> None:
    former, copied = tmp_path / 'former', tmp_path / 'copied'
    run(toy_config(former, 'former', max_iters=5))
    shutil.copytree(former, copied)
    source = find_last_checkpoint(copied)
    assert source == str(copied / 'iter_5.pth')
    # At the rate with which the former run ended, the last validation is the best.
    resumed = run(toy_config(copied, 'copied', resume=True, load_from=source,
                             default_hooks__checkpoint__resume_schedule='checkpoint'))
    assert {path.name for path in former.glob('*.pth')} == {'best_mIoU_iter_5.pth', 'iter_5.pth'}
    info = resumed.message_hub.runtime_info
    assert info['best_ckpt'] == str(copied / 'best_mIoU_iter_20.pth')
    assert {Path(info[name]).parent for name in ('last_ckpt', 'best_ckpt')} == {copied}
    assert len(list(copied.glob('*.pth'))) == 2


def test_save_best_names_the_metrics_there_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match='save_best is "accuracy_top", but validation gives mIoU'):
        run(toy_config(tmp_path, 'no-such-metric', max_iters=5, default_hooks__checkpoint__save_best='accuracy_top'))


def test_early_stopping_is_in_the_checkpoint_that_follows_the_best_validation(tmp_path: Path) -> None:
    hooks = [dict(type='ResumableEarlyStoppingHook', monitor='mIoU')]
    runner = run(toy_config(tmp_path, 'early', max_iters=5, custom_hooks=hooks))
    info = load_from_local(runner.message_hub.get_info('last_ckpt'))['message_hub']['runtime_info']
    assert info['early_stopping'] == [info['best_score'], 0]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """2 gloo processes with batch 2 see the episodes of 1 process with batch 4, and get its weights."""
    both = processes.run(TOY, 'train_in_processes', tmp_path, env=ENVIRONMENT, distributed=2)
    assert both.returncode == 0, both.stderr[-3000:]
    result = json.loads((tmp_path / 'result.json').read_text())
    assert result['world_size'] == 2
    alone = run(toy_config(tmp_path / 'alone', 'alone', train_dataloader__batch_size=4, **DETERMINISTIC))
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(torch.tensor(result['weights'][name]), value, rtol=0, atol=1e-6)

from types import SimpleNamespace

import pytest

from mmfss.engine.hooks import ProgressHook
from mmfss.engine.hooks import progress_hook as module


def runner(**changes) -> SimpleNamespace:
    values = dict(iter=0, max_iters=4, val_dataloader=[0] * 2, test_dataloader=[0] * 3)
    return SimpleNamespace(**dict(values, **changes))


def test_a_training_with_a_validation(capsys: pytest.CaptureFixture) -> None:
    hook, run = ProgressHook(), runner()
    hook.before_train(run)
    for iteration in range(4):
        hook.after_train_iter(run, batch_idx=iteration)
        if iteration == 1:
            hook.before_val_epoch(run)
            for batch in range(2):
                hook.after_val_iter(run, batch_idx=batch)
    assert capsys.readouterr().err.splitlines() == [
        'validation: 2 of 2 batches in 0:00:00', 'training: 4 of 4 iterations in 0:00:00']


def test_a_resumed_training_begins_where_it_stopped(capsys: pytest.CaptureFixture) -> None:
    hook, run = ProgressHook(), runner(iter=3)
    hook.before_train(run)
    hook.after_train_iter(run, batch_idx=3)
    assert capsys.readouterr().err == 'training: 4 of 4 iterations in 0:00:00\n'


@pytest.mark.parametrize('what', [None, 'testing copied mask, 5-shot'])
def test_tests_one_after_the_other(capsys: pytest.CaptureFixture, what: str) -> None:
    hook, run = ProgressHook(what), runner()
    for _ in range(2):
        hook.before_test_epoch(run)
        for batch in range(3):
            hook.after_test_iter(run, batch_idx=batch)
    assert capsys.readouterr().err == f'{what or "testing"}: 3 of 3 batches in 0:00:00\n' * 2


def test_only_the_main_process_reports(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'is_main_process', lambda: False)
    hook, run = ProgressHook(), runner()
    hook.before_train(run)
    hook.after_train_iter(run, batch_idx=0)
    hook.before_test_epoch(run)
    hook.after_test_iter(run, batch_idx=0)
    assert capsys.readouterr().err == ''

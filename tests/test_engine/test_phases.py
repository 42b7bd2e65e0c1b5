"""Both stages in phases on tiny pictures: what is trained, what is handed on, and that a killed run ends the same."""
import argparse
import os
import signal
from pathlib import Path
from typing import Any

import mmfss  # noqa: F401  isort: skip  (before MMSegmentation)
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfss.engine.phases import phases_of, result_before, train_phases
from mmfss.registry import HOOKS
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import dump_json
from tests import processes
from tests.tiny.seg import TINY_HEAD, TINY_SEGMENTOR

ROOT = Path(__file__).parents[2]
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
DATA = dict(type='TinySegDataset')
BASE = dict(
    default_scope='mmfss',
    train_dataloader=dict(batch_size=2, num_workers=0, sampler=dict(type='EpisodeStream'),
                          dataset=dict(type='RepeatableDataset', dataset=DATA)),
    val_dataloader=dict(batch_size=3, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=DATA),
    val_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
    train_cfg=dict(type='EpisodeTrainLoop', max_iters=4, val_interval=4),
    val_cfg=dict(type='ValLoop'),
    param_scheduler=[],
    default_hooks=dict(
        logger=dict(type='LoggerHook', interval=2, log_metric_by_epoch=False),
        checkpoint=dict(type='ExactCheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=2)),
    log_processor=dict(by_epoch=False),
    log_level='ERROR',
    randomness=dict(seed=3))


def optimizer(lr: float, **changes: Any) -> dict:
    return dict(type='OptimWrapper', constructor='TrainableOptimWrapperConstructor',
                optimizer=dict(type='Adam', lr=lr, weight_decay=5e-4), **changes)


def stage1() -> Config:
    keys = {'backbone': dict(lr_mult=0.1), 'decode_head.prototypes': dict(decay_mult=0.)}
    return Config(dict(
        BASE, model=TINY_SEGMENTOR, optim_wrapper=optimizer(1e-2, paramwise_cfg=dict(custom_keys=keys)),
        phases=dict(
            warmup=dict(model=dict(trainable=['scale_convs', 'prototypes']), custom_hooks=[dict(type='KillHook')]),
            joint=dict(
                model=dict(trainable=['backbone', 'scale_convs', 'prototypes']), result='pushed.pth',
                param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)],
                custom_hooks=[dict(type='KillHook'), dict(type='PrototypePushHook', save_interval=2)]),
            last_layer=dict(
                model=dict(trainable=['classifier']), optim_wrapper=dict(paramwise_cfg=None),
                custom_hooks=[dict(type='KillHook'), dict(type='ResumableEarlyStoppingHook', monitor='mIoU')]))))


def stage2() -> Config:
    head = dict(TINY_HEAD, type='ScaleProtoGroupHead', num_groups=2,
                regularizers=[dict(type='OffClassL1Loss'), dict(type='GroupEntropyLoss')])
    return Config(dict(
        BASE, model=dict(TINY_SEGMENTOR, decode_head=head), optim_wrapper=optimizer(0.05),
        phases=dict(
            group_warmup=dict(model=dict(trainable=['groups']),
                              custom_hooks=[dict(type='KillHook'), dict(type='SimplexProjectionHook')]),
            group_joint=dict(
                model=dict(trainable=['groups', 'group_classifier']), result='thresholded.pth',
                custom_hooks=[dict(type='KillHook'), dict(type='SimplexProjectionHook'),
                              dict(type='GroupThresholdHook')]))))


@HOOKS.register_module(force=True)
class KillHook(Hook):
    """Kills the process once, at the iteration that a file in the folder of all phases names for this phase."""

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        order = Path(runner.work_dir).parents[1] / f'kill_{Path(runner.work_dir).name}'
        if order.is_file() and int(order.read_text()) == runner.iter + 1:
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, resume: bool = False) -> list[dict]:
    phases = [*phases_of(stage1(), folder / 'one'), *phases_of(stage2(), folder / 'two')]
    return train_phases(phases, resume=resume)


def weights(path: str | Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=False)['state_dict']


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    folder = tmp_path_factory.mktemp('whole')
    return folder, run(folder)


def test_each_phase_trains_its_parts(whole: tuple[Path, list[dict]]) -> None:
    results = {outcome['name']: weights(outcome['result']) for outcome in whole[1]}
    assert list(results) == ['warmup', 'joint', 'last_layer', 'group_warmup', 'group_joint']
    before_push = weights(whole[0] / 'one/joint/iter_4.pth')

    def changed(old: dict, new: dict) -> set[str]:
        return {name.split('.')[0] if name.startswith('backbone') else name.split('.')[1]
                for name in new if name in old and not new[name].equal(old[name])}

    assert changed(results['warmup'], before_push) == {'backbone', 'scale_convs', 'prototypes'}
    pushed = changed(before_push, results['joint'])
    assert {'prototypes', 'proto_source'} <= pushed and not pushed & {'backbone', 'scale_convs'}
    assert changed(results['joint'], results['last_layer']) == {'classifier'}
    assert changed(results['last_layer'], results['group_warmup']) == set()
    assert changed(results['group_warmup'], results['group_joint']) == {'groups', 'group_classifier'}
    groups = weights(whole[0] / 'two/group_joint/iter_4.pth')['decode_head.groups']
    torch.testing.assert_close(groups.sum(2)[:3], torch.ones(3, 2), atol=1e-6, rtol=0)
    thresholded = results['group_joint']['decode_head.groups']
    assert thresholded.equal(groups.masked_fill(groups < 0.05, 0))
    count = len(results['joint']['decode_head.prototypes'])
    assert count < 16 and len(results['group_joint']['decode_head.prototypes']) == count


def test_metrics_are_reported(whole: tuple[Path, list[dict]]) -> None:
    assert all(0 <= outcome['metrics']['mIoU'] <= 100 and outcome['iterations'] == 4 for outcome in whole[1])


def test_killed_everywhere(whole: tuple[Path, list[dict]], tmp_path: Path) -> None:
    """Killed in every phase and in the push, then resumed: the same weights, bit by bit."""
    for name, iteration in (('warmup', 3), ('joint', 2), ('last_layer', 1), ('group_warmup', 3), ('group_joint', 4)):
        (tmp_path / f'kill_{name}').write_text(str(iteration))
    done = processes.run(__file__, tmp_path, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == '6'  # five iterations, and the push
    for outcome in whole[1]:
        path = Path(outcome['result'])
        mine, other = weights(path), weights(tmp_path / path.relative_to(whole[0]))
        assert mine.keys() == other.keys() and all(mine[name].equal(other[name]) for name in mine), path


def test_finished_phases_are_left_out(whole: tuple[Path, list[dict]]) -> None:
    times = [Path(outcome['result']).stat().st_mtime_ns for outcome in whole[1]]
    assert run(whole[0], resume=True) == whole[1]
    assert times == [Path(outcome['result']).stat().st_mtime_ns for outcome in whole[1]]


def test_a_phase_that_ended_by_another_schedule(tmp_path: Path) -> None:
    """It is refused, continued, or taken as it is; what came after a continued one is trained anew."""

    def two(max_iters: int, policy: str) -> list[dict]:
        cfg = stage1()
        cfg.phases.pop('joint')
        cfg.train_cfg.max_iters, cfg.default_hooks.checkpoint.resume_schedule = max_iters, policy
        return train_phases(list(phases_of(cfg, tmp_path)), resume=True)

    assert [outcome['iterations'] for outcome in two(2, 'exact')] == [2, 2]
    first = weights(tmp_path / 'warmup/iter_2.pth')
    with pytest.raises(ConfigError, match=r'"warmup" ended after 2 .* \(train_cfg.max_iters\).*-schedule config'):
        two(4, 'exact')
    assert [outcome['iterations'] for outcome in two(4, 'checkpoint')] == [2, 2]
    outcomes = two(4, 'config')
    assert [outcome['iterations'] for outcome in outcomes] == [4, 4] and 'schedule' not in outcomes[0]
    warmed, last = (weights(outcome['result']) for outcome in outcomes)
    trained = 'decode_head.prototypes'
    assert not first[trained].equal(warmed[trained]) and warmed[trained].equal(last[trained])
    assert two(4, 'exact') == outcomes


def test_a_phase_alone_starts_from_the_one_before(whole: tuple[Path, list[dict]], tmp_path: Path) -> None:
    folder, outcomes = whole
    phases = [*phases_of(stage1(), folder / 'one'), *phases_of(stage2(), folder / 'two')]
    for phase, before in zip(phases[1:], outcomes):
        assert result_before(phase, phases) == before['result']
    assert result_before(phases[0], phases) is None
    assert result_before(phases[1], phases, resume=True) is None  # it has a checkpoint of its own
    empty = list(phases_of(stage1(), tmp_path))
    with pytest.raises(ConfigError, match='"joint" starts from the result of "warmup", which has not ended'):
        result_before(empty[1], empty)


def test_config_without_phases(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='has no phases'):
        list(phases_of(Config(dict(model=dict())), tmp_path))


def kill_in_push(folder: Path) -> None:
    """Break down at the fifth image of the first push."""
    from mmfss.prototypes import push as prototype_push
    update, marker = prototype_push.NearestCells.update, folder / 'push_was_killed'
    seen = []

    def dying(self: Any, *args: Any) -> None:
        seen.append(1)
        if len(seen) == 5 and not marker.exists():
            marker.touch()
            os._exit(77)
        update(self, *args)

    prototype_push.NearestCells.update = dying


def run_until_alive(folder: Path) -> int:
    """Start in a new process again and again, until one is not killed; returns how many were."""
    kill_in_push(folder)
    for deaths in range(20):
        child = os.fork()
        if child == 0:
            run(folder, resume=True)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            return deaths
        if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status) != 77:
            break
    raise RuntimeError('It failed otherwise.')


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=Path)
    print(run_until_alive(parser.parse_args().folder))


def test_a_phase_that_ended_before_its_folder_was_moved(tmp_path: Path) -> None:
    phase = next(phases_of(stage1(), tmp_path))
    dump_json(dict(name='warmup', result='/elsewhere/warmup/iter_4.pth'), phase.work_dir / 'phase.json')
    assert phase.outcome is None
    (phase.work_dir / 'iter_4.pth').touch()
    assert phase.outcome['result'] == str(phase.work_dir / 'iter_4.pth')


def test_a_new_run_takes_nothing_of_a_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phases = list(phases_of(stage1(), tmp_path))
    for phase in phases:
        dump_json(dict(name=phase.name, result='iter_4.pth'), phase.work_dir / 'phase.json')
        (phase.work_dir / 'iter_4.pth').touch()
        (phase.work_dir / 'last_checkpoint').write_text(str(phase.work_dir / 'iter_4.pth'))
    assert [outcome['name'] for outcome in train_phases(phases, resume=True)] == ['warmup', 'joint', 'last_layer']

    def interrupt(cfg: Config) -> None:
        assert not cfg.resume
        raise KeyboardInterrupt

    monkeypatch.setattr('mmfss.engine.phases.build_runner', interrupt)
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            train_phases(phases, resume=resume)
        assert not any(phase.outcome for phase in phases)

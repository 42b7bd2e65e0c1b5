"""A run resumed with a changed schedule: refused, or continued by the schedule that was asked for."""
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmfss.registry import HOOKS
from mmfss.utils.checkpoint import load_from_local
from mmfss.utils.config_options import ConfigError
from tests.test_engine.toy import record, run, toy_config

POLY = dict(type='PolyLR', power=0.9, eta_min=0., begin=0, end=8, by_epoch=False)
STEPS = dict(type='MultiStepLR', milestones=[3, 5, 8], gamma=0.1, by_epoch=False)
WARM_UP = [dict(type='LinearLR', start_factor=0.1, begin=0, end=3, by_epoch=False), dict(POLY, begin=3)]
ADAM = dict(optim_wrapper__optimizer=dict(_delete_=True, type='AdamW', lr=0.01, weight_decay=0.1))
# Three groups: two of the model, and the one that holds the settings of the config.
MULTIPLIED = dict(custom_keys={'head': dict(lr_mult=0.1)}, bias_decay_mult=0.)
GROUPS = dict(optim_wrapper__paramwise_cfg=MULTIPLIED, optim_wrapper__optimizer__weight_decay=1e-3)
ADAM_GROUPS = dict(ADAM, optim_wrapper__paramwise_cfg=MULTIPLIED)


@HOOKS.register_module(force=True)
class FirstMomentumHook(Hook):
    """Keep a copy of the momentum with which training begins."""

    def before_train(self, runner: Runner) -> None:
        state = runner.optim_wrapper.optimizer.state_dict()['state']
        self.buffers = {index: value['momentum_buffer'].clone() for index, value in state.items()}


def config(work_dir: Path, name: str, schedulers: List[dict], max_iters: int, **changes: Any) -> Any:
    changes = {'train_dataloader__dataset__noise': 0.1, 'default_hooks__checkpoint__interval': 4, **changes}
    cfg = toy_config(work_dir, name, max_iters=max_iters, train_cfg__val_interval=100, **changes)
    cfg.param_scheduler = schedulers
    return cfg


def rates(runner: Runner) -> Dict[int, float]:
    """The learning rate of every iteration, as it was logged."""
    values = runner.message_hub.get_scalar('train/lr').data[0]
    return dict(enumerate(map(float, values), start=1))


def same_weights(first: Runner, second: Runner) -> bool:
    other = second.model.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.model.state_dict().items())


def hyperparameters(wrapper: OptimWrapper) -> List[dict]:
    return [{key: value for key, value in group.items() if key != 'params'} for group in wrapper.param_groups]


def log_of(runner: Runner) -> str:
    return Path(runner.log_dir, f'{runner.timestamp}.log').read_text()


class TestRefused:
    """Each change is named with both values and the way out, and the working directory stays as it was."""

    @pytest.mark.parametrize('schedulers, changed, options, message', [
        ([dict(type='OneCycleLR', eta_max=0.02, total_steps=4, by_epoch=False)],
         [dict(type='OneCycleLR', eta_max=0.02, total_steps=8, by_epoch=False)], dict(max_iters=8),
         'param_scheduler.0.total_steps: 4 in the checkpoint, 8 by the config'),
        ([dict(type='OneCycleLR', eta_max=0.02, total_steps=8, by_epoch=False)],
         [dict(type='OneCycleLR', eta_max=0.04, total_steps=8, by_epoch=False)], {},
         'param_scheduler.0.eta_max: 0.02 in the checkpoint, 0.04 by the config'),
        ([dict(type='OneCycleLR', eta_max=0.02, total_steps=4, by_epoch=False)],
         [dict(type='OneCycleLR', eta_max=0.02, total_steps=4, by_epoch=False)], dict(max_iters=8),
         'param_scheduler.0.end: 4 in the checkpoint, 8 by the config'),
        ([dict(POLY, end=4)], [dict(POLY, end=8)], dict(max_iters=8), 'param_scheduler.0.end: 4 .* 8 by'),
        ([dict(POLY, end=4)], [dict(POLY, end=4)], dict(max_iters=8), 'max_iters: 4 .* while .* still ends at 4'),
        ([POLY], [dict(POLY, power=2.)], {}, 'param_scheduler.0.power: 0.9 in the checkpoint, 2.0 by the config'),
        ([STEPS], [dict(STEPS, gamma=0.5)], {}, 'param_scheduler.0.gamma'),
        ([STEPS], [dict(STEPS, milestones=[2])], {}, 'param_scheduler.0.milestones'),
        (WARM_UP, [WARM_UP[0]], {}, 'param_scheduler: 2 schedulers in the checkpoint, 1 by the config'),
        ([], [POLY], {}, 'param_scheduler: 0 schedulers in the checkpoint, 1 by the config'),
        ([POLY], [dict(type='LinearLR', begin=0, end=8, by_epoch=False)], {}, 'start_factor: absent in the checkpoint'),
        ([], [], dict(optim_wrapper__optimizer__lr=1e-5), 'optim_wrapper.optimizer.lr: 0.01 in .* 1e-05 by'),
        ([STEPS], [STEPS], dict(optim_wrapper__optimizer__lr=1e-5), 'optim_wrapper.optimizer.lr: 0.01 in .* 1e-05 by'),
        ([POLY], [POLY], dict(optim_wrapper__optimizer__momentum=0.5), 'optim_wrapper.optimizer.momentum: 0.9'),
        ([POLY], [POLY], dict(optim_wrapper__optimizer__weight_decay=0.1), 'optim_wrapper.optimizer.weight_decay: 0'),
        ([], [], dict(max_iters=3), 'train_cfg.max_iters: 3 by the config, but 4 are done'),
    ])
    def test_change(self, tmp_path: Path, schedulers: List[dict], changed: List[dict], options: dict,
                    message: str) -> None:
        run(config(tmp_path, 'first', schedulers, max_iters=4))
        options = dict(dict(max_iters=4), **options)
        with pytest.raises(ConfigError, match=message) as error:
            run(config(tmp_path, 'second', changed, resume=True, **options))
        assert '--resume-schedule config' in str(error.value)
        assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_4.pth')

    def test_groups_are_named_once(self, tmp_path: Path) -> None:
        run(config(tmp_path, 'first', [POLY], max_iters=4, **GROUPS))
        with pytest.raises(ConfigError) as error:
            run(config(tmp_path, 'second', [POLY], 4, resume=True, optim_wrapper__optimizer__lr=0.1, **GROUPS))
        assert str(error.value).count('optim_wrapper') == 1
        assert 'optim_wrapper.optimizer.lr: 0.01 in the checkpoint, 0.1 by the config' in str(error.value)

    def test_multiplier_of_a_group(self, tmp_path: Path) -> None:
        run(config(tmp_path, 'first', [POLY], max_iters=4, **GROUPS))
        other = dict(GROUPS, optim_wrapper__paramwise_cfg=dict(MULTIPLIED, custom_keys={'head': dict(lr_mult=0.5)}))
        with pytest.raises(ConfigError, match=r'optimizer \(parameter group \d\).lr: 0.001 in .*, 0.005 by'):
            run(config(tmp_path, 'second', [POLY], max_iters=4, resume=True, **other))

    @pytest.mark.parametrize('policy', ['exact', 'config', 'checkpoint'])
    @pytest.mark.parametrize('change, message', [(ADAM, 'of another kind'), (GROUPS, 'parameter groups')])
    def test_another_optimizer(self, tmp_path: Path, policy: str, change: dict, message: str) -> None:
        run(config(tmp_path, 'first', [POLY], max_iters=4))
        with pytest.raises(ConfigError, match=f'{message}.*Weights alone are taken with load_from'):
            run(config(tmp_path, 'second', [POLY], max_iters=4, resume=True,
                       default_hooks__checkpoint__resume_schedule=policy, **change))

    def test_unknown_policy(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match='resume_schedule must be one of exact, config, checkpoint, got "new"'):
            run(config(tmp_path, 'first', [], 4, default_hooks__checkpoint__resume_schedule='new'))


class TestUnchanged:

    @pytest.mark.parametrize('schedulers', [[], [POLY], [STEPS], WARM_UP,
                                            [dict(type='CosineAnnealingLR', T_max=8, by_epoch=False)]])
    @pytest.mark.parametrize('options', [{}, dict(ADAM_GROUPS, optim_wrapper__accumulative_counts=3)],
                             ids=['sgd', 'groups'])
    def test_resumes_to_the_last_bit(self, tmp_path: Path, schedulers: List[dict], options: dict) -> None:
        whole = run(config(tmp_path / 'whole', 'whole', schedulers, 8, **options))
        _cut(tmp_path / 'cut', schedulers, options)
        resumed = run(config(tmp_path / 'cut', 'resumed', schedulers, 8, resume=True, **options))
        assert min(record(resumed).losses) == 5 and same_weights(whole, resumed)
        assert rates(whole) == rates(resumed)
        assert hyperparameters(whole.optim_wrapper) == hyperparameters(resumed.optim_wrapper)

    def test_averaged_weights(self, tmp_path: Path) -> None:
        hooks = dict(custom_hooks=[dict(type='RecordHook'), dict(type='EMAHook', momentum=0.1)])
        whole = run(config(tmp_path / 'whole', 'whole', [POLY], 8, **hooks))
        _cut(tmp_path / 'cut', [POLY], hooks)
        resumed = run(config(tmp_path / 'cut', 'resumed', [POLY], 8, resume=True, **hooks))
        assert same_weights(whole, resumed)
        averages = [load_from_local(tmp_path / name / 'iter_8.pth')['state_dict'] for name in ('whole', 'cut')]
        assert all(torch.equal(value, averages[1][name]) for name, value in averages[0].items())


def _cut(work_dir: Path, schedulers: List[dict], options: dict) -> None:
    """Leave the checkpoint of iteration 4 of a run of 8, as a run killed after it does."""
    run(config(work_dir, 'cut', schedulers, 8, **options, default_hooks__checkpoint__max_keep_ckpts=-1))
    (work_dir / 'iter_8.pth').unlink()
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_4.pth'))


class TestMoreIterations:
    """A schedule that does not depend on the length goes on as one run of the new length would have."""

    @pytest.mark.parametrize('schedulers', [
        [], [STEPS], [dict(STEPS, milestones=[4])], [dict(type='ExponentialLR', gamma=0.9, by_epoch=False)],
        [dict(type='StepLR', step_size=2, by_epoch=False)], WARM_UP[:1],
        [dict(type='LinearLR', start_factor=0.1, begin=0, end=3, by_epoch=False), dict(STEPS, begin=3)],
        [dict(type='OneCycleLR', eta_max=0.02, total_steps=8, by_epoch=False)],
        [dict(type='CosineAnnealingLR', T_max=8, by_epoch=False)],
    ], ids=lambda schedulers: '+'.join(scheduler['type'] for scheduler in schedulers) or 'constant')
    def test_as_one_run(self, tmp_path: Path, schedulers: List[dict]) -> None:
        whole = run(config(tmp_path / 'whole', 'whole', schedulers, 8, **ADAM_GROUPS))
        run(config(tmp_path / 'short', 'short', schedulers, 4, **ADAM_GROUPS))
        longer = run(config(tmp_path / 'short', 'longer', schedulers, 8, resume=True, **ADAM_GROUPS))
        assert rates(whole) == rates(longer) and same_weights(whole, longer)
        assert hyperparameters(whole.optim_wrapper) == hyperparameters(longer.optim_wrapper)
        assert 'was to have 4 iterations and now has 8' in log_of(longer)


class TestFollowingTheConfig:

    @pytest.mark.parametrize('schedulers, changed, options', [
        ([dict(type='OneCycleLR', eta_max=0.02, total_steps=4, by_epoch=False)],
         [dict(type='OneCycleLR', eta_max=0.03, total_steps=8, by_epoch=False)], {}),
        ([dict(POLY, end=4)], [POLY], {}),
        ([dict(POLY, end=4)], [POLY], GROUPS),
        ([STEPS], [dict(STEPS, gamma=0.5)], dict(optim_wrapper__optimizer__lr=0.002)),
        ([dict(POLY, end=4)], WARM_UP, {}),
        (WARM_UP, [], {}),
        ([dict(type='OneCycleLR', eta_max=0.02, total_steps=4, by_epoch=False)], [POLY], {}),
        ([], [], dict(optim_wrapper__optimizer=dict(lr=0.002, momentum=0.5, weight_decay=0.1))),
    ])
    def test_settings_are_those_of_a_run_by_the_config(self, tmp_path: Path, schedulers: List[dict],
                                                       changed: List[dict], options: dict) -> None:
        common = GROUPS if options == GROUPS else {}
        reference = run(config(tmp_path / 'reference', 'reference', changed, 8, **options))
        run(config(tmp_path / 'run', 'short', schedulers, 4, **common))
        momentum = load_from_local(tmp_path / 'run/iter_4.pth')['optimizer']['state']
        cfg = config(tmp_path / 'run', 'longer', changed, 8, resume=True, **options,
                     default_hooks__checkpoint__resume_schedule='config')
        cfg.custom_hooks.append(dict(type='FirstMomentumHook'))
        longer = run(cfg)
        assert {step: rates(longer)[step] for step in range(5, 9)} == {
            step: rates(reference)[step] for step in range(5, 9)}
        assert hyperparameters(longer.optim_wrapper) == hyperparameters(reference.optim_wrapper)
        hook = next(hook for hook in longer.hooks if isinstance(hook, FirstMomentumHook))
        assert all(torch.equal(hook.buffers[index], state['momentum_buffer']) for index, state in momentum.items())
        assert 'The schedule follows the config' in log_of(longer)

    def test_old_checkpoint_without_any_config(self, tmp_path: Path) -> None:
        run(config(tmp_path, 'first', [dict(POLY, end=4)], 4))
        checkpoint = load_from_local(tmp_path / 'iter_4.pth')
        checkpoint['meta'].pop('cfg')
        for name in ('cfg', 'max_iters'):
            checkpoint['message_hub']['runtime_info'].pop(name)
        torch.save(checkpoint, tmp_path / 'iter_4.pth')
        with pytest.raises(ConfigError, match='param_scheduler.0.end: 4 in the checkpoint, 8 by the config'):
            run(config(tmp_path, 'refused', [POLY], 8, resume=True))
        longer = run(config(tmp_path, 'longer', [POLY], 8, resume=True,
                            default_hooks__checkpoint__resume_schedule='config'))
        assert rates(longer)[5] > rates(longer)[7] > 0

    def test_too_short_a_cycle(self, tmp_path: Path) -> None:
        cycle = [dict(type='OneCycleLR', eta_max=0.02, total_steps=4, by_epoch=False)]
        run(config(tmp_path, 'first', cycle, 4))
        with pytest.raises(ConfigError, match='param_scheduler.0.total_steps is 4, but .* to iteration 8'):
            run(config(tmp_path, 'second', cycle, 8, resume=True, default_hooks__checkpoint__resume_schedule='config'))

    def test_plateau_cannot_be_repeated(self, tmp_path: Path) -> None:
        plateau = dict(type='ReduceOnPlateauLR', monitor='mIoU', factor=0.5, patience=0, end=5)
        run(config(tmp_path, 'first', [plateau], 4))
        with pytest.raises(ConfigError, match='ReduceOnPlateau scheduler follows the validations so far'):
            run(config(tmp_path, 'second', [dict(plateau, factor=0.1)], 8, resume=True,
                       default_hooks__checkpoint__resume_schedule='config'))
        longer = run(config(tmp_path, 'third', [dict(plateau, end=9)], 8, resume=True))
        assert longer.param_schedulers[0].end == 9 and longer.param_schedulers[0].factor == 0.5


def test_following_the_checkpoint(tmp_path: Path) -> None:
    run(config(tmp_path, 'first', [dict(POLY, end=6)], 4))
    longer = run(config(tmp_path, 'second', [POLY], 8, resume=True, optim_wrapper__optimizer__lr=1.,
                        default_hooks__checkpoint__resume_schedule='checkpoint'))
    assert longer.param_schedulers[0].end == 6 and rates(longer)[8] == 0
    assert 'The schedule follows the checkpoint' in log_of(longer) and '.lr: 0.01 in the checkpoint' in log_of(longer)


def test_weights_alone_bring_no_schedule(tmp_path: Path) -> None:
    """``load_from`` without ``resume`` begins a new training, of any schedule."""
    run(config(tmp_path / 'first', 'first', [POLY], 4))
    tuned = run(config(tmp_path / 'second', 'second', [], 4, load_from=str(tmp_path / 'first/iter_4.pth'), **ADAM))
    assert min(record(tuned).losses) == 1

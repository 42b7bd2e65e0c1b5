"""Schedules that end with the training."""
import re
from pathlib import Path
from typing import Any

import pytest
from mmengine.runner import Runner

from mmfss.engine.phases import _schedule
from mmfss.engine.schedule_end import check_end, end_with_training
from mmfss.utils.config_options import ConfigError
from tests.test_engine.test_resumed_schedule import config, log_of, rates
from tests.test_engine.toy import run

POLY = dict(type='PolyLR', power=0.9, by_epoch=False)
CYCLE = dict(type='OneCycleLR', eta_max=0.02, by_epoch=False)
WARM_UP = dict(type='LinearLR', start_factor=0.1, end=3, by_epoch=False)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr('mmfss.engine.schedule_end.print_log', lambda text, *_: lines.append(text))
    return lines


def train(folder: Path, name: str, schedulers: Any, max_iters: int = 8, **changes: Any) -> Runner:
    return run(config(folder / name, name, schedulers, max_iters, **changes))


@pytest.mark.parametrize(('scheduler', 'length'), [(POLY, dict(begin=0, end=9)), (CYCLE, dict(total_steps=8)),
                                                   (dict(POLY, begin=2), dict(end=9))])
def test_is_as_long_as_the_training(tmp_path: Path, scheduler: dict, length: dict) -> None:
    short, stated = (train(tmp_path, name, [value]) for name, value in (
        ('short', scheduler), ('stated', dict(scheduler, **length))))
    assert rates(short) == rates(stated) and min(rates(short).values()) > 0
    assert 'ends at iteration' not in log_of(short) + log_of(stated)


def test_follows_max_iters(tmp_path: Path) -> None:
    assert rates(train(tmp_path, 'four', [POLY], 4))[4] == pytest.approx(0.01 * (1 / 4)**0.9)
    assert rates(train(tmp_path, 'eight', [POLY], 8))[8] == pytest.approx(0.01 * (1 / 8)**0.9)


@pytest.mark.parametrize(('schedulers', 'message'), [
    ([dict(POLY, end=5)], r'param_scheduler.0 \(PolyLR\) ends at iteration 5, the training at 8 .* Leave out .*0.end'),
    ([dict(POLY, end=20)], 'ends at iteration 20, the training at 8'),
    ([WARM_UP, dict(POLY, begin=3, end=6)], r'param_scheduler.1 \(PolyLR\) ends at iteration 6'),
    ([dict(CYCLE, total_steps=12)], 'ends at iteration 12.*Leave out param_scheduler.0.total_steps'),
    (dict(one=[POLY], two=[dict(POLY, end=5)]), r'param_scheduler.two.0 \(PolyLR\) ends at iteration 5'),
    ([dict(type='CosineAnnealingLR', T_max=5, by_epoch=False)], 'Leave out param_scheduler.0.T_max'),
])
def test_warns_of_another_end(schedulers: Any, message: str, said: list[str]) -> None:
    check_end(end_with_training(schedulers, 8), 8)
    assert len(said) == 1 and re.search(message, said[0])


@pytest.mark.parametrize('schedulers', [
    None, [], [POLY], dict(POLY), [CYCLE], [WARM_UP, dict(POLY, begin=3)], [dict(POLY, end=8)], [dict(POLY, end=9)],
    [dict(CYCLE, total_steps=8)], [dict(type='MultiStepLR', milestones=[3], by_epoch=False)],
    [dict(type='PolyLR', end=100)], [dict(type='CosineAnnealingLR', T_max=8, by_epoch=False)],
    [WARM_UP], [dict(type='ConstantLR', factor=0.5, by_epoch=False)], dict(one=[POLY], two=[CYCLE]),
])
def test_says_nothing_otherwise(schedulers: Any, said: list[str]) -> None:
    before = str(schedulers)
    check_end(end_with_training(schedulers, 8), 8)
    assert not said and str(schedulers) == before


def test_a_cycle_that_would_break_off(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'\(OneCycleLR\) ends at iteration 4, the training at 8'):
        train(tmp_path, 'short', [dict(CYCLE, total_steps=4)])
    assert not list((tmp_path / 'short').glob('*.pth'))


def test_resumes_a_run_with_a_stated_end(tmp_path: Path) -> None:
    """Checkpoints and phases of a config that repeated the number are those of one that does not."""
    cut = config(tmp_path, 'cut', [dict(POLY, begin=0, end=9)], 8, default_hooks__checkpoint__max_keep_ckpts=-1)
    whole = run(cut)
    (tmp_path / 'iter_8.pth').unlink()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_4.pth'))
    resumed = run(config(tmp_path, 'resumed', [POLY], 8, resume=True))
    assert rates(resumed) == rates(whole)
    for stated, short in ((dict(POLY, begin=0, end=9), POLY), (dict(CYCLE, total_steps=8), CYCLE)):
        assert _schedule(config(tmp_path, 'a', [stated], 8)) == _schedule(config(tmp_path, 'b', [short], 8))

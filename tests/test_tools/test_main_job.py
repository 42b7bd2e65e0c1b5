"""The real tools on the real model and data, small: exact resumption, and figures that depend on no process or
worker.
"""
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from tests import processes

ROOT = Path(__file__).parents[2]
CONFIG = f"""
_base_ = '{ROOT}/configs/dcama/resnet18_shapes_fold0.py'
shapes = dict(num_train=160, num_val=80, side=64)
few = dict(small_classes='skip')  # so few pictures do not show every class twice
train_dataloader = dict(batch_size=2, dataset=dict(data_root='data', index=shapes, sampler=few))
val_dataloader = dict(dataset=dict(data_root='data', index=shapes, sampler=few, num_episodes=4))
test_dataloader = dict(batch_size=3, dataset=dict(data_root='data', index=shapes, sampler=few, num_episodes=8))
model = dict(head=dict(attention_dropout=0.5, dropout=0.5))
train_cfg = dict(max_iters=8, val_interval=8)
param_scheduler = [dict(type='OneCycleLR', eta_max=1e-2, total_steps=8, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=9), logger=dict(interval=1))
"""
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))


def tool(name: str, *args: str) -> list[str]:
    return [str(ROOT / 'tools' / name), 'config.py', *args]


def run(folder: Path, command: list[str], distributed: int = 0) -> None:
    done = processes.run(*command, cwd=folder, env=ENVIRONMENT, distributed=distributed)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def state(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=False)['state_dict']


def losses(work_dir: Path) -> dict[int, float]:
    """The loss of each iteration as last logged."""
    lines = [json.loads(line) for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
             for line in path.read_text().splitlines()]
    return {line['step']: line['loss'] for line in lines if 'loss' in line}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and a model that was trained without interruption."""
    folder = tmp_path_factory.mktemp('main_job')
    (folder / 'config.py').write_text(CONFIG)
    run(folder, tool('train.py', '--work-dir', 'whole'))
    return folder


def test_killed_training_resumes_to_the_last_bit(folder: Path) -> None:
    process = processes.start(tool('train.py', '--work-dir', 'killed'), folder, ENVIRONMENT)
    try:
        while not (folder / 'killed' / 'iter_4.pth').exists():
            assert process.is_alive(), 'training ended before it could be killed'
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    assert not (folder / 'killed' / 'iter_8.pth').exists()
    run(folder, tool('train.py', '--work-dir', 'killed', '--resume'))
    whole, resumed = (state(folder / name / 'iter_8.pth') for name in ('whole', 'killed'))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert len(losses(folder / 'whole')) == 8 and losses(folder / 'whole') == losses(folder / 'killed')


def test_frozen_backbone_is_unchanged(folder: Path) -> None:
    shipped = state(ROOT / 'configs' / 'backbones' / 'resnet18_shapes_fold0.pth')
    trained = state(folder / 'whole' / 'iter_8.pth')
    frozen = {name: value for name, value in trained.items() if name.startswith('backbone.')}
    assert frozen.keys() == shipped.keys()
    assert all(torch.equal(value, shipped[name].to(value.dtype)) for name, value in frozen.items())
    optimizer = torch.load(folder / 'whole' / 'iter_8.pth', weights_only=False)['optimizer']
    assert len(optimizer['param_groups'][0]['params']) == sum(name.startswith('head.') for name in trained)


def test_figures_depend_on_no_worker_or_process(folder: Path) -> None:
    commands = dict(
        workers=tool('test.py', 'whole/iter_8.pth', '--out', 'workers.json', '--work-dir', 'w', '--shots', '2',
                     '--cfg-options', 'test_dataloader.num_workers=4'),
        none=tool('test.py', 'whole/iter_8.pth', '--out', 'none.json', '--work-dir', 'n', '--shots', '2',
                  '--cfg-options', 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False'),
        two=tool('test.py', 'whole/iter_8.pth', '--out', 'two.json', '--work-dir', 't', '--shots', '2',
                 '--launcher', 'pytorch'))
    metrics = {}
    for name, command in commands.items():
        run(folder, command, distributed=2 if name == 'two' else 0)
        metrics[name] = json.loads((folder / f'{name}.json').read_text())['metrics']
    assert metrics['workers'] == metrics['none'] == metrics['two']

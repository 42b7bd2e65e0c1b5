"""DiffewS is trained by the package's loop: in phases, with accumulated gradients, averaged weights and bfloat16."""
import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config

from mmfss.utils.checkpoint import load_from_local
from tests import processes
from tests.tiny.data import write_class_folders

pytest.importorskip('diffusers', reason='DiffewS needs diffusers')

from mmfss.commands import test, train  # noqa: E402

ROOT = Path(__file__).parents[2]
STEPS, ACCUMULATION = 4, 2


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny config of the repository with smaller networks, on a few pictures."""
    root = tmp_path_factory.mktemp('diffews')
    cfg = Config.fromfile(ROOT / 'configs/diffews/tiny_shapes_fold0.py')
    vae = dict(cfg.vae, block_out_channels=(8, 8), norm_num_groups=4)
    unet = dict(
        block_out_channels=(8, 16), down_block_types=('CrossAttnDownBlock2D', ) * 2,
        up_block_types=('CrossAttnUpBlock2D', ) * 2, attention_head_dim=(2, 2), norm_num_groups=4)
    data = dict(type='EpisodicDataset', index=dict(type='ImageFolderIndex', data_root=str(write_class_folders(
        root / 'data', num_images=4))), fold=0, folds=dict(num_folds=2))
    cfg.pipeline[0].transforms[-1].scale = (16, 16)
    for loader in ('train', 'val', 'test'):
        dataset = dict(data, split=loader, num_shots=1, num_ways=1, pipeline=cfg.pipeline, num_episodes=5)
        sampler = cfg[f'{loader}_dataloader'].sampler
        cfg[f'{loader}_dataloader'] = dict(batch_size=2, num_workers=0, sampler=sampler, dataset=dataset)
    cfg.val_dataloader.dataset.classes_of = 'train'
    cfg.model.vae = vae
    cfg.model.unet.update(unet)
    cfg.model.update(checkpointing=True, vae_dtype='bfloat16')
    cfg.phases.autoencoder.model.vae = vae
    cfg.phases.autoencoder.train_cfg = dict(max_iters=2, val_interval=2)
    cfg.phases.autoencoder.param_scheduler[0].total_steps = 2
    cfg.train_cfg.update(max_iters=STEPS, val_interval=STEPS)
    cfg.phases.unet.custom_hooks = [dict(type='EMAHook', momentum=0.5)]
    cfg.optim_wrapper.update(type='BFloat16OptimWrapper', accumulative_counts=ACCUMULATION)
    cfg.param_scheduler = [dict(type='PolyLR', power=1., eta_min=1e-7, begin=0, end=STEPS, by_epoch=False)]
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)
    path = root / 'tiny_fold0.py'
    cfg.dump(path)
    return path


def call(command: ModuleType, *arguments: object) -> None:
    argv, sys.argv = sys.argv, [command.__name__, *map(str, arguments)]
    try:
        with torch.random.fork_rng():
            command.main()
    finally:
        sys.argv = argv


@pytest.fixture(scope='module')
def trained(config: Path) -> Path:
    call(train, config, '--work-dir', config.parent / 'out')
    return config.parent / 'out' / config.stem


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_from_local(path)['state_dict']


def test_phases(trained: Path) -> None:
    """The second starts with the VAE of the first, which stays; its UNet learns at every second iteration."""
    vae = weights(trained / 'autoencoder' / 'iter_2.pth')
    files = [load_from_local(trained / 'unet' / f'iter_{number}.pth') for number in range(1, STEPS + 1)]
    steps, raw = ([file[key] for file in files] for key in ('state_dict', 'ema_state_dict'))
    assert set(vae) == {name for name in steps[0] if name.startswith('vae.')}
    assert all(torch.equal(step[name], value) for step in steps for name, value in vae.items())
    # Checkpoints hold averaged weights: they move towards those of the optimizer.
    name = 'unet.conv_in_ref.weight'
    changes = [not torch.equal(a[f'module.{name}'], b[f'module.{name}']) for a, b in zip(raw, raw[1:])]
    assert changes == [True, False, True]
    assert not torch.equal(raw[-1][f'module.{name}'], steps[-1][name])
    summary = json.loads((trained / 'train_summary.json').read_text())
    round_trip, segmented = (phase['metrics'] for phase in summary['phases'])
    assert 'mIoU' in round_trip and 'mIoU' in segmented


def test_resumes_exactly(config: Path, trained: Path) -> None:
    again = config.parent / 'again' / config.stem
    again.parent.mkdir()
    shutil.copytree(trained, again)
    for path in (again / 'unet').glob('iter_[34].pth'):
        path.unlink()
    (again / 'unet' / 'phase.json').unlink()
    (again / 'unet' / 'last_checkpoint').write_text(str(again / 'unet' / 'iter_2.pth'))
    call(train, config, '--work-dir', again.parent, '--resume')
    expected, resumed = (weights(folder / 'unet' / f'iter_{STEPS}.pth') for folder in (trained, again))
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())


def test_one_and_two_processes(config: Path, trained: Path) -> None:
    arguments = [config, trained / 'unet' / f'iter_{STEPS}.pth', '--episodes', 5]
    outs = [trained.parent / f'results{number}.json' for number in (1, 2)]
    call(test, *arguments, '--work-dir', trained.parent / 'test1', '--out', outs[0])
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    done = processes.run(
        ROOT / 'tools/test.py', *arguments, '--work-dir', trained.parent / 'test2', '--out', outs[1], '--launcher',
        'pytorch', '--cfg-options', 'env_cfg.dist_cfg.backend=gloo', env=environment, distributed=2)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (json.loads(path.read_text()) for path in outs)
    assert one['metrics'] == two['metrics'] and (one['processes'], two['processes']) == (1, 2)

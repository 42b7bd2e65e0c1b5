"""Training of unrolled LRP: both stages in one command, killed and resumed in each; two processes as one."""
import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from PIL import Image

from mmfss.engine.distributed import setup_distributed
from mmfss.engine.phases import phases_of, train_phases
from mmfss.registry import HOOKS
from tests import processes
from tests.tiny import unrolled_lrp as tiny

ROOT = Path(__file__).parents[2]
CLASSES = dict(classes=('background', 'aeroplane', 'bicycle', 'bird'))
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))


@HOOKS.register_module(force=True)
class StopHook(Hook):
    """Break down in a phase, at the third iteration; checkpoints are written every two."""
    phase: str | None = None

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter == 2 and Path(runner.work_dir).name == StopHook.phase:
            raise RuntimeError('killed')


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('voc')
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True)
    (root / 'ImageSets/Segmentation/val.txt').write_text('i0\n')
    rng = np.random.RandomState(0)
    for number in range(6):
        Image.fromarray(rng.randint(0, 255, (36, 40, 3), np.uint8)).save(root / f'JPEGImages/i{number}.jpg')
        mask = np.zeros((36, 40), np.uint8)
        mask[:, 10:20] = 1 + number % 3
        Image.fromarray(mask).save(root / f'SegmentationClass/i{number}.png')
    return root


def config(data: Path) -> Config:
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadPartialAnnotations', void='background')]
    pack = dict(type='PackPartialLabels', num_classes=4)
    train = [*pipeline, dict(type='SquareCrop', size=32, random=True), dict(type='RandomFlip', prob=0.5), pack]
    test = [*pipeline, dict(type='SquareCrop', size=32, as_original=True), pack]
    cfg = Config.fromfile(ROOT / 'configs/unrolled_lrp/resnet50_voc12_20masks.py')
    cfg.model = dict(
        type='UnrolledLRPSegmentor', backbone=tiny.RESNET, data_preprocessor=cfg.model.data_preprocessor,
        cls_head=dict(type='PooledClassifier', in_channels=32, num_classes=4),
        decode_head=dict(type='UnrolledLRPHead', chunk=2))
    cfg.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset = dict(
        type='PartialLabelDataset', num_masks=2, batch_size=2,
        dataset=dict(type='VOCPartialDataset', data_root=str(data), metainfo=CLASSES, pipeline=train))
    for name in ('val_dataloader', 'test_dataloader'):
        cfg[name].update(num_workers=0, persistent_workers=False)
        cfg[name].dataset.update(data_root=str(data), metainfo=CLASSES, pipeline=test)
    cfg.train_cfg.update(max_iters=3, val_interval=3)
    cfg.phases = dict(stage1=dict(cfg.phases.stage1, train_cfg=dict(max_iters=3)), stage2=dict())
    cfg.default_hooks.checkpoint.update(interval=2)
    cfg.custom_hooks = [dict(type='StopHook')]
    cfg.log_level = 'ERROR'
    return cfg


def train(data: Path, work_dir: Path, resume: bool = False) -> list[dict]:
    return train_phases(list(phases_of(copy.deepcopy(config(data)), work_dir)), resume=resume)


def weights(outcome: dict) -> dict:
    return torch.load(outcome['result'], weights_only=False)['state_dict']


@pytest.fixture(scope='module')
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return train(data, tmp_path_factory.mktemp('whole'))


def test_both_stages(whole: list[dict]) -> None:
    assert [outcome['name'] for outcome in whole] == ['stage1', 'stage2']
    metrics = whole[-1]['metrics']
    assert {'official/mIoU', 'exact_match', 'class_accuracy', 'F1', 'mAP', 'relevance_mass',
            'rank_accuracy'} <= set(metrics)
    first, last = (weights(outcome) for outcome in whole)
    assert not any(name.startswith('decode_head') for name in last)
    assert not first['backbone.conv1.weight'].equal(last['backbone.conv1.weight'])


def test_killed_in_each_stage_and_resumed_to_the_last_bit(data: Path, whole: list[dict], tmp_path: Path) -> None:
    try:
        for number, StopHook.phase in enumerate(('stage1', 'stage2')):
            with pytest.raises(RuntimeError, match='killed'):
                train(data, tmp_path, resume=number > 0)
    finally:
        StopHook.phase = None
    for found, expected in zip(train(data, tmp_path, resume=True), whole):
        for name, value in weights(expected).items():
            assert weights(found)[name].equal(value), name


@pytest.mark.parametrize('case', ['frozen', 'synchronized', 'one_pass'])
def test_two_processes_step_as_one(both: list[dict], case: str) -> None:
    """Each batch is split; labelled pixels are counted over both, and one image has no mask.

    Of all backward passes of both batches one exchanges gradients. Batch norm has fixed statistics or, by a forward
    pass of the tests in place of SyncBatchNorm's, which runs on GPUs alone, those of both processes. (All is in float64
    but the loss of the image's labels.)
    """
    alone = tiny.iterate(**dict(tiny.CASES[case], iterative_gradients=False))
    parts = [part[case] for part in both]
    for index, losses in enumerate(alone['losses']):
        for name, value in losses.items():
            found = sum(float(part['losses'][index][name].detach()) for part in parts) / 2
            assert found == pytest.approx(float(value), rel=1e-6)
    assert all(part['reduced'] == [0] and len(part['steps']) == 1 for part in parts)
    (expected, ), = (alone['steps'], )
    for name, value in expected.items():
        assert parts[0]['steps'][0][name].equal(parts[1]['steps'][0][name])
        near = dict(rtol=0, atol=1e-6 * float(value.abs().max()))
        torch.testing.assert_close(parts[0]['steps'][0][name], value, **near, msg=lambda text, name=name: name + text)


@pytest.fixture(scope='module')
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp('both')
    ended = processes.run(str(Path(tiny.__file__)), str(folder), env=ENVIRONMENT, distributed=2)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return [torch.load(folder / f'{rank}.pt', weights_only=False) for rank in range(2)]


def test_wrapper_of_distributed_training(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model names it; a phase with unused parameters says so to it."""
    cfg = config(data)
    cfg.phases.stage1.find_unused_parameters = True
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    setup_distributed(cfg, 'pytorch')
    assert cfg.model_wrapper_cfg == dict(
        type='IterativeDataParallel', broadcast_buffers=False, find_unused_parameters=False)
    unused = [phase.cfg.model_wrapper_cfg.find_unused_parameters for phase in phases_of(cfg, tmp_path)]
    assert unused == [True, False]
    cfg.model = dict(type='MirrorUNetSegmentor')
    cfg.pop('model_wrapper_cfg')
    setup_distributed(cfg, 'pytorch')
    assert 'model_wrapper_cfg' not in cfg

"""Configs of unrolled LRP: models run, pipelines and phases can be built, published values."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmfss.engine.phases import phases_of
from mmfss.models.segmentors import ImageLabelSegmentor
from mmfss.registry import METRICS, MODELS, TRANSFORMS, register_all_modules
from tests.tiny.weightless import Weightless

CONFIGS = Path(__file__).parents[1] / 'configs/unrolled_lrp'
NAMES = sorted(path.stem for path in CONFIGS.glob('*.py'))
SMALL = [name for name in NAMES if 'shapes' in name]


def read(name: str) -> Config:
    register_all_modules(init_default_scope=True)
    return Config.fromfile(CONFIGS / f'{name}.py')


@pytest.mark.parametrize('name', NAMES)
def test_can_be_built(name: str) -> None:
    cfg = read(name)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = cfg[loader].dataset
        for step in (dataset.dataset if 'dataset' in dataset else dataset).pipeline:
            TRANSFORMS.build(step)
    for metric in (*cfg.val_evaluator, *cfg.test_evaluator):
        METRICS.build(metric)
    phases = list(phases_of(cfg, Path('work'))) if cfg.get('phases') else []
    for phase in phases or [None]:
        with Weightless():
            model = MODELS.build((phase.cfg if phase else cfg).model)
        if name.endswith('_fcn'):
            continue
        assert isinstance(model, ImageLabelSegmentor)
        assert model.seg_loss_weight == (0 if phase.name == 'stage1' else 1)
        assert model.cls_loss_over_batch == ('mean' if phase.name == 'stage1' else 'sum')
    # The images of a batch are counted by loader and dataset alike.
    assert cfg.train_dataloader.dataset.batch_size == cfg.train_dataloader.batch_size
    assert cfg.default_hooks.checkpoint.save_best is None


@pytest.mark.parametrize('name', SMALL)
def test_small_models_run(name: str) -> None:
    model = MODELS.build(read(name).model).eval()
    with torch.no_grad():
        seg_logits, cls_logits = model(torch.rand(1, 3, 64, 64))
    assert seg_logits.shape == (1, 17, 64, 64)
    assert (cls_logits is None) == name.startswith('unet') and (cls_logits is None or cls_logits.shape == (1, 17))


def test_published_values() -> None:
    uniform = {20: 1.0, 100: 1.0, 500: 0.5, 1464: 0.0}
    for masks, value in uniform.items():
        cfg = read(f'resnet50_voc12_{masks}masks')
        dataset = cfg.train_dataloader.dataset
        assert (dataset.num_masks, dataset.uniform, dataset.order) == (masks, value, 'release')
        assert (dataset.dataset.num_images, dataset.batch_size, 'choice_seed' in dataset) == (15676, 10, False)
        assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-5, weight_decay=0.01)
        stage1, stage2 = phases_of(cfg, Path('work'))
        assert (stage1.cfg.train_cfg.max_iters, stage2.cfg.train_cfg.max_iters) == (10 * 1568, 100 * 1568)
        assert cfg.model.decode_head.unpool == 'last' and cfg.model.decode_head.bn_detach == 'ratio'

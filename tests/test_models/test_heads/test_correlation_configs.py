"""The recipes of HSNet and DMTNet, where their configs promise the papers', and small models that run."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmfss import register_all_modules
from mmfss.registry import MODELS

CONFIGS = Path(__file__).parents[3] / 'configs'
ADAM = dict(type='Adam', lr=1e-3)


def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def side(cfg: Config, loader: str) -> int:
    return cfg[loader].dataset.pipeline[0].transforms[-1].scale[0]


HSNET = [f'{backbone}_{rest}' for backbone in ('vgg16', 'resnet50', 'resnet101', 'swinb')
         for rest in (*(f'{data}_fold{fold}' for data in ('pascal5i', 'coco20i') for fold in range(4)), 'fss1000')]


@pytest.mark.parametrize('name', HSNET)
def test_recipe_of_hsnet(name: str) -> None:
    cfg = read(f'hsnet/{name}')
    batch = 40 if 'coco20i' in name else 20
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == batch
    assert (cfg.optim_wrapper.optimizer, cfg.param_scheduler) == (ADAM, [])
    assert {side(cfg, loader) for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')} == {
        384 if name.startswith('swinb') else 400}
    assert cfg.model.head == dict(type='HSNetHead', shots='vote')
    assert cfg.test_dataloader.dataset.sampler.type == 'PublishedProtocolSampler'


@pytest.mark.parametrize('target', ['fss1000', 'deepglobe', 'isic', 'lung'])
def test_recipe_of_dmtnet(target: str) -> None:
    cfg = read(f'dmtnet/resnet50_{target}')
    train = cfg.train_dataloader
    assert (train.dataset.type, train.dataset.fold) == ('Pascal5iDataset', None)
    assert train.batch_size == cfg.auto_scale_lr.base_batch_size == 24 and cfg.train_cfg.max_iters == 20 * 570
    assert (cfg.optim_wrapper.optimizer, cfg.param_scheduler) == (ADAM, [])
    assert {side(cfg, loader) for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')} == {400}
    tuned = read(f'dmtnet/resnet50_{target}_tsf').test_cfg
    assert tuned == dict(type='SelfFinetuningTestLoop', lr=0.1 if target == 'lung' else 1e-6)
    assert cfg.test_cfg.type == 'TestLoop'
    assert read(f'dmtnet/vgg16_{target}').model.head.references == 'published'


@pytest.mark.parametrize(('name', 'size'), [
    ('hsnet/resnet18_shapes_fold0', 128), ('hsnet/mobilenetv2_voc257_fold0', 257),
    ('dmtnet/resnet18_shapes_fold0', 128), ('dmtnet/mobilenetv2_voc257_fold0', 257)])
@torch.no_grad()
def test_small_models_run(name: str, size: int) -> None:
    register_all_modules(init_default_scope=True)
    model = MODELS.build(read(name).model).eval()
    masks = torch.zeros(1, 1, 2, size, size)
    masks[..., 30:100, 20:90] = 1
    logits = model.logits(torch.randn(1, 3, size, size), torch.randn(1, 1, 2, 3, size, size), masks)
    assert logits.shape == (1, 2, size, size) and logits.isfinite().all()


def test_same_effort_as_dcama() -> None:
    for data in ('mobilenetv2_voc257_fold0', 'resnet18_shapes_fold0'):
        dcama = read(f'dcama/{data}')
        for method in ('hsnet', 'dmtnet'):
            cfg = read(f'{method}/{data}')
            for key in ('train_cfg', 'param_scheduler', 'optim_wrapper', 'train_dataloader'):
                assert cfg[key] == dcama[key], key

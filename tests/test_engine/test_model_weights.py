"""Configs of models without training, as a runner takes them."""
from mmengine.config import Config

from mmfss.engine.model_weights import set_checkpoint


def test_config_without_training() -> None:
    cfg = Config(dict(train_dataloader=dict(batch_size=2), test_cfg=dict(type='TestLoop')))
    set_checkpoint(cfg, None)
    assert cfg.train_dataloader is cfg.train_cfg is cfg.optim_wrapper is None
    assert [hook.type for hook in cfg.custom_hooks] == ['TrainingFreeHook']


def test_config_with_training() -> None:
    cfg = Config(dict(train_dataloader=dict(batch_size=2), train_cfg=dict(max_iters=1), optim_wrapper=dict(type='A')))
    set_checkpoint(cfg, 'a.pth')
    assert cfg.train_dataloader.batch_size == 2 and cfg.load_from == 'a.pth'
    assert [hook.type for hook in cfg.custom_hooks] == ['CheckpointGuardHook']

from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from tests.test_engine.toy import ToyModel, record, run, toy_config


def _build(model: torch.nn.Module, **cfg):
    optimizer = dict(type='SGD', lr=0.1, weight_decay=0.5)
    defaults = dict(constructor='TrainableOptimWrapperConstructor', optimizer=optimizer)
    with DefaultScope.overwrite_default_scope('mmfss'):
        return build_optim_wrapper(model, dict(defaults, **cfg))


class TestTrainableOptimWrapperConstructor:

    def test_leaves_frozen_parameters_out(self) -> None:
        model = ToyModel()
        groups = _build(model).optimizer.param_groups
        assert len(groups) == 1
        assert {id(p) for p in groups[0]['params']} == {id(p) for p in model.head.parameters()}

    def test_paramwise_options(self) -> None:
        model = ToyModel()
        groups = _build(model, paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0)).optimizer.param_groups
        settings = {id(group['params'][0]): (group['lr'], group['weight_decay']) for group in groups}
        assert settings == {id(model.head.weight): (0.1, 0.5), id(model.head.bias): (0.2, 0.0)}

    def test_nothing_to_train(self) -> None:
        with pytest.raises(ValueError, match='ToyModel has no parameter to train'):
            _build(ToyModel().requires_grad_(False))


def test_bfloat16_trains_close_to_float32(tmp_path: Path) -> None:
    losses = [
        record(run(toy_config(tmp_path / kind, kind, optim_wrapper__type=kind))).losses
        for kind in ('OptimWrapper', 'BFloat16OptimWrapper')
    ]
    full, half = (torch.tensor(list(values.values())) for values in losses)
    assert not torch.equal(full, half), 'bfloat16 was not used'
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.02)


def test_bfloat16_keeps_weights_and_gradients_in_float32() -> None:
    model = ToyModel()
    wrapper = _build(model, type='BFloat16OptimWrapper')
    with wrapper.optim_context(model):
        assert model.head(torch.randn(2, 8)).dtype == torch.bfloat16
        loss = model([torch.randn(4)], [1.0], mode='loss')['loss']
    wrapper.update_params(loss)
    assert model.head.weight.dtype == torch.float32
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())

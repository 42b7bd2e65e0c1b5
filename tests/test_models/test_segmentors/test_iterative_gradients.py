"""One backward pass per chunk of classes: the gradient of one pass, one step, and the memory of a chunk."""
import gc
from typing import Any

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mmfss.engine import BFloat16OptimWrapper
from tests.tiny.unrolled_lrp import RESNET, VGG, SeenSGD, batch, build

MOBILENET = dict(type='mmpretrain.MobileNetV2', widen_factor=0.25, out_indices=(7, ))
GENERIC = dict(type='GradientInputHead', cls_head=dict(type='PooledClassifier', in_channels=1280, num_classes=4))


class ScaledOptimWrapper(OptimWrapper):
    """As MMEngine's AmpOptimWrapper scales the loss, which is for GPUs alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scaler = torch.amp.GradScaler('cpu', init_scale=2.**10)

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()


def step(model: nn.Module, wrapper: type = OptimWrapper, batches: int = 1,
         images: int = 4) -> tuple[list[dict], list[dict]]:
    """Losses of training steps and gradients of the optimizer's, which accumulates all of them."""
    dtype = next(model.parameters()).dtype
    optimizer = wrapper(optimizer=SeenSGD(model), accumulative_counts=batches)
    losses = []
    for seed in range(batches):
        inputs, samples = batch(images, seed=seed)
        found = model.train_step(dict(inputs=inputs.to(dtype), data_samples=samples), optimizer)
        losses.append({name: float(value.detach()) for name, value in found.items()})
    assert optimizer._inner_count == batches
    return losses, optimizer.optimizer.seen


def compare(found: tuple[list[dict], list[dict]], expected: tuple[list[dict], list[dict]], tolerance: float) -> None:
    assert len(found[1]) == 1
    for losses, others in zip(found[0], expected[0]):
        assert losses == pytest.approx(others, rel=tolerance)
    assert found[1][0].keys() == expected[1][0].keys()
    for name, value in expected[1][0].items():
        torch.testing.assert_close(found[1][0][name], value, rtol=0, atol=tolerance * float(value.abs().max()) + 1e-12)


@pytest.mark.parametrize(('backbone', 'options', 'training', 'images'), [
    (RESNET, dict(chunk=1), False, 4), (RESNET, dict(chunk=1), True, 4),
    (RESNET, dict(chunk=3, bn_detach='none'), True, 4), (RESNET, dict(tied=False), False, 4),
    (VGG, dict(chunk=2), True, 1), (MOBILENET, GENERIC, True, 2)])
def test_gradient_is_that_of_one_pass(backbone: dict, options: dict, training: bool, images: int) -> None:
    """In float64: the published rule magnifies rounding. Dropout is the same in all passes."""
    model, both = build(backbone, **options).double().train(training), []
    for model.decode_head.iterative_gradients in (True, False):
        torch.manual_seed(0)
        both.append(step(model, images=images))
    compare(*both, tolerance=1e-8)


@pytest.mark.parametrize('options', [dict(chunk=1), dict(type='GradientInputHead')])
def test_accumulation_and_scaled_loss(options: dict) -> None:
    expected = step(build(**options, iterative_gradients=False).double(), batches=2)
    for wrapper in (OptimWrapper, ScaledOptimWrapper):
        compare(step(build(**options).double(), wrapper, batches=2), expected, tolerance=1e-8)


def test_bfloat16() -> None:
    """The decoder and all its backward passes are in float32."""
    options = dict(chunk=1, unpool='sum', bn_detach='none')
    (losses, ), (found, ) = step(build(**options), BFloat16OptimWrapper)
    (others, ), (expected, ) = step(build(**options, iterative_gradients=False), BFloat16OptimWrapper)
    assert losses == pytest.approx(others, rel=1e-5)
    for name, value in expected.items():
        assert float((found[name] - value).norm()) <= 0.02 * float(value.norm()), name


class Saved:
    """Counts the bytes that graphs hold, now and at most."""
    now = most = 0

    def __init__(self, x: Tensor) -> None:
        self.x, self.size = x, x.numel() * x.element_size()
        Saved.now += self.size
        Saved.most = max(Saved.most, Saved.now)

    def __del__(self) -> None:
        Saved.now -= self.size


def most_saved(**options: Any) -> int:
    model = build(**options, cls_head=dict(type='PooledClassifier', in_channels=32, num_classes=options['num_classes']))
    gc.collect()
    Saved.now = Saved.most = 0
    optimizer = OptimWrapper(SeenSGD(model))
    inputs, samples = batch(1, num_classes=options['num_classes'], unmasked=())
    with saved_tensors_hooks(Saved, lambda saved: saved.x):
        model.train_step(dict(inputs=inputs, data_samples=samples), optimizer)
    return Saved.most


@pytest.mark.parametrize('options', [dict(type='UnrolledLRPHead'), dict(type='GradientInputHead')])
def test_memory_is_that_of_a_chunk(options: dict) -> None:
    few, many = (most_saved(**options, num_classes=count, chunk=2) for count in (4, 16))
    whole = most_saved(**options, num_classes=16, iterative_gradients=False)
    assert many < 1.25 * few and many < 0.5 * whole

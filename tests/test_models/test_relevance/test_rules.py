"""Rules of single layers and residual blocks beside the reference numbers."""
import numpy as np
import pytest
import torch
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from mmfss.models.relevance import (
    ConvShape,
    RelevanceWalk,
    Residual,
    record_forward,
    relprop_avgpool,
    relprop_batchnorm,
    relprop_conv,
    relprop_conv_alphabeta,
    relprop_linear,
    relprop_linear_alphabeta,
    relprop_maxpool,
    safe_divide,
)
from mmfss.models.relevance.chains import _residual
from tests.references.unrolled_lrp import draw_weights, golden, tensor

GOLDEN = golden('layers')


def check(name: str, found: Tensor) -> None:
    expected = GOLDEN[name]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def drawn(tag: str, module: nn.Module) -> nn.Module:
    draw_weights(module, 0, prefix=f'{tag}.', gains=[('*conv*', 1.4)] if 'b' in tag[:1] and tag != 'bn' else ())
    return module


def test_safe_divide() -> None:
    a, b = (torch.from_numpy(GOLDEN[f'safe_divide_{name}']) for name in 'ab')
    np.testing.assert_allclose(safe_divide(a, b).numpy(), GOLDEN['safe_divide'], rtol=1e-5)


@pytest.mark.parametrize(('tag', 'sizes'), [('lin', (20, 7)), ('lin_nobias', (12, 5))])
def test_linear(tag: str, sizes: tuple[int, int]) -> None:
    layer = drawn(tag, nn.Linear(*sizes, bias=tag == 'lin'))
    a, R = tensor(f'{tag}.x', (3, sizes[0])).relu(), tensor(f'{tag}.R', (3, sizes[1]))
    check(tag, relprop_linear(R, a, layer.weight, layer.bias))
    if tag == 'lin':
        for alpha in (1, 2):
            check(f'lin_ab{alpha}', relprop_linear_alphabeta(R, a, layer.weight, alpha))


@pytest.mark.parametrize(('tag', 'conv', 'shape'), [
    ('conv3', nn.Conv2d(4, 6, 3, 1, 1), (2, 4, 9, 11)),
    ('conv_s2', nn.Conv2d(4, 6, 3, 2, 1, bias=False), (2, 4, 10, 9)),
    ('conv7', nn.Conv2d(3, 5, 7, 2, 3, bias=False), (2, 3, 16, 15)),
    ('conv1_s2', nn.Conv2d(6, 8, 1, 2, 0, bias=False), (2, 6, 8, 7))])
def test_conv(tag: str, conv: nn.Conv2d, shape: tuple) -> None:
    drawn(tag, conv)
    a = tensor(f'{tag}.x', shape).relu()
    R = tensor(f'{tag}.R', conv(a).shape)
    check(tag, relprop_conv(R, a, conv.weight, conv.bias, ConvShape.of(conv)))
    if tag == 'conv3':
        check('conv3_ab2', relprop_conv_alphabeta(R, a, conv.weight, ConvShape.of(conv), 2))


@pytest.mark.parametrize('training', [False, True])
def test_batchnorm(training: bool) -> None:
    norm = drawn('bn', nn.BatchNorm2d(5)).train(training)
    a, R = tensor('bn.x', (3, 5, 6, 4)), tensor('bn.R', (3, 5, 6, 4))
    variance = a.var((0, 2, 3), unbiased=False) if training else norm.running_var
    name = 'bn_train' if training else 'bn_eval'
    check(name, relprop_batchnorm(R, a, norm(a), norm.weight, variance, norm.eps))


@pytest.mark.parametrize(('tag', 'pool', 'shape'), [
    ('pool2', nn.MaxPool2d(2, 2, 0, return_indices=True), (2, 3, 8, 6)),
    ('pool3', nn.MaxPool2d(3, 2, 1, return_indices=True), (2, 3, 9, 8))])
def test_maxpool(tag: str, pool: nn.MaxPool2d, shape: tuple) -> None:
    a = tensor(f'{tag}.x', shape)
    out, indices = pool(a)
    assert np.array_equal(indices.numpy(), GOLDEN[f'{tag}_indices'])
    R = tensor(f'{tag}.R', out.shape).requires_grad_()
    check(tag, relprop_maxpool(R, indices, shape[2:]))
    # All windows get the gradient, also those that were written over.
    weights = tensor('gradient', shape)
    found, = torch.autograd.grad((relprop_maxpool(R, indices, shape[2:]) * weights).sum(), R)
    assert found.equal(weights.flatten(2).gather(2, indices.flatten(2)).view_as(R))
    summed = relprop_maxpool(R, indices, shape[2:], 'sum')
    torch.testing.assert_close(summed.sum((2, 3)), R.sum((2, 3)))


@pytest.mark.parametrize(('tag', 'size', 'shape'), [
    ('gap', 1, (2, 3, 4, 5)), ('avg7', 7, (2, 3, 8, 8)), ('avg7id', 7, (2, 3, 7, 7))])
def test_avgpool(tag: str, size: int, shape: tuple) -> None:
    check(tag, relprop_avgpool(tensor(f'{tag}.R', (2, 3, size, size)), tensor(f'{tag}.x', shape).relu(), (size, size)))


@pytest.mark.parametrize('shape', [(1, 2, 10, 5), (1, 2, 3, 17)])
def test_avgpool_of_any_size(shape: tuple) -> None:
    """A vector-Jacobian product, also where windows overlap or the output is larger than the input."""
    a, R = (tensor('a', shape).relu() + 0.1).requires_grad_(), tensor('R', (1, 2, 7, 7))
    pooled = nn.functional.adaptive_avg_pool2d(a, 7)
    expected, = torch.autograd.grad(pooled, a, R / pooled)
    torch.testing.assert_close(relprop_avgpool(R, a, (7, 7)), a * expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(('tag', 'block', 'shape'), [
    ('basic', (BasicBlock, 8, 8, 1, False), (2, 8, 6, 6)), ('basic_down', (BasicBlock, 8, 12, 2, True), (2, 8, 7, 6)),
    ('bottle', (Bottleneck, 16, 16, 1, False), (2, 16, 6, 5)),
    ('bottle_down', (Bottleneck, 8, 16, 2, True), (2, 8, 6, 6))])
def test_blocks(tag: str, block: tuple, shape: tuple, training: bool) -> None:
    kind, inputs, outputs, stride, down = block
    downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    module = drawn(tag, kind(inputs, outputs, stride=stride, downsample=downsample if down else None)).train(training)
    residual: Residual = _residual('block', module)
    x = tensor(f'{tag}.x', shape).relu()
    with record_forward([layer.module for layer in (*residual.main, *residual.shortcut)]) as record:
        out = module(x)
    R = tensor(f'{tag}.R', out.shape) * out
    (_, found), = RelevanceWalk()([residual], record, R[None])
    check(f'{tag}_{"train" if training else "eval"}', found[0])

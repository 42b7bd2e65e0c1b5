from typing import Callable

import numpy as np
import pytest
import torch

from mmfss.models.layers.prototypes import (
    ConcatenatedASPP,
    class_table,
    downsample_labels,
    log_similarity,
    prototype_table,
    squared_distances,
)
from tests.references.scaleproto_golden import golden


def test_three_ways_to_a_distance() -> None:
    """At D = 64 the expansion, batched products and plain differences agree to 2e-5."""
    generator = torch.Generator().manual_seed(0)
    z, p = torch.rand(2, 64, 5, 7, generator=generator), torch.rand(9, 64, generator=generator)
    p[3] = z[1, :, 2, 4]
    found = squared_distances(z, p)
    plain = (z[:, None] - p[None, :, :, None, None]).square().sum(2)
    product = torch.baddbmm(p.square().sum(1)[:, None], p.expand(2, -1, -1), z.flatten(2), alpha=-2)
    torch.testing.assert_close(found, plain, atol=2e-5, rtol=0)
    torch.testing.assert_close(found.flatten(2), product + z.flatten(2).square().sum(1, True), atol=2e-5, rtol=0)
    assert found.min() >= 0 and 9 < log_similarity(found)[1, 3, 2, 4] <= 9.2104


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    d = torch.rand(6, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: log_similarity(x, 1e-2), (d, ))
    z, p = torch.rand(1, 3, 2, 2).requires_grad_(), torch.rand(4, 3).requires_grad_()
    weight = torch.rand(1, 4, 2, 2)
    found = torch.autograd.grad((squared_distances(z, p) * weight).sum(), (z, p))
    plain = ((z[:, None] - p[None, :, :, None, None]).square().sum(2) * weight).sum()
    for one, other in zip(found, torch.autograd.grad(plain, (z, p))):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_full_precision_under_autocast(dtype: torch.dtype) -> None:
    z, p = torch.rand(1, 64, 3, 3), torch.rand(5, 64)
    with torch.autocast('cpu', dtype):
        assert squared_distances(z, p).equal(squared_distances(z, p)) and squared_distances(z, p).dtype is torch.float32
        under = squared_distances(z, p)
    torch.testing.assert_close(under, squared_distances(z, p), atol=0, rtol=0)
    halves = squared_distances(z.to(dtype), p)
    torch.testing.assert_close(halves, squared_distances(z.to(dtype).float(), p), atol=0, rtol=0)


@pytest.mark.parametrize('set_precision', [
    lambda: torch.set_float32_matmul_precision('medium'),
    lambda: setattr(torch.backends.mkldnn.matmul, 'fp32_precision', 'bf16')], ids=['for all devices', 'for a CPU'])
def test_full_precision_of_products(set_precision: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    matmul, bmm = torch.backends.mkldnn.matmul, torch.bmm
    monkeypatch.setattr(torch, 'bmm', lambda *args: (seen.append(matmul.fp32_precision), bmm(*args))[1])
    before = matmul.fp32_precision
    try:
        set_precision()
        squared_distances(torch.rand(1, 8, 3, 3), torch.rand(5, 8))
        assert seen == ['ieee'] and matmul.fp32_precision == 'bf16'
    finally:
        torch.set_float32_matmul_precision('highest')
        matmul.fp32_precision = before


def test_values_of_the_similarity() -> None:
    found = log_similarity(torch.tensor([0., 1., 4.]))
    np.testing.assert_allclose(found, [9.2103, 0.6930, 0.2231], atol=1e-4)


def test_tables() -> None:
    proto_class = torch.tensor([0, 0, 2, 1, 0, 2, 2])
    proto_scale = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    assert prototype_table(proto_class, proto_scale, 3, 2).tolist() == [[[0, 1], [-1, -1], [2, -1]],
                                                                        [[1, -1], [0, -1], [2, 3]]]
    assert class_table(proto_class, 4).tolist() == [[0, 1, 4], [3, -1, -1], [2, 5, 6], [-1, -1, -1]]


def test_downsampled_labels() -> None:
    labels = torch.from_numpy(golden('stage1_losses')['labels'])
    np.testing.assert_array_equal(downsample_labels(labels, (9, 11)), golden('stage1_losses')['target'])


@pytest.mark.parametrize(('size', 'grid'), [((513, 513), (65, 65)), ((321, 321), (41, 41)), ((5, 8), (5, 8))])
def test_labels_are_the_nearest_exactly(size: tuple[int, int], grid: tuple[int, int]) -> None:
    labels = torch.arange(size[0] * size[1]).view(1, *size)
    expected = torch.nn.functional.interpolate(labels[None].double(), grid, mode='nearest-exact')[0]
    assert downsample_labels(labels, grid).equal(expected.long())


def test_aspp() -> None:
    aspp = ConcatenatedASPP(3, 4, (1, 2, 5))
    assert [tuple(conv.dilation) for conv in aspp] == [(1, 1), (2, 2), (5, 5)]
    x = torch.randn(2, 3, 9, 8)
    assert aspp(x).shape == (2, 12, 9, 8)
    torch.testing.assert_close(aspp(x)[:, 4:8], aspp[1](x))
    assert all((conv.bias == 0).all() and conv.weight.abs().max() < 0.06 for conv in aspp)

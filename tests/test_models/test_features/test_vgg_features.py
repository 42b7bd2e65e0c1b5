import pytest
import torch
from torch import nn

from mmfss.models.features import VGGFeatures, build_feature_reader
from mmfss.registry import MODELS


def build(**options) -> nn.Module:
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type='mmpretrain.VGG', depth=11, **options))
    backbone.eval()
    return backbone


@torch.no_grad()
def test_taps_are_before_the_relu_and_after_the_last_pooling() -> None:
    backbone = build()
    images = torch.randn(2, 3, 70, 100)
    reader = build_feature_reader(dict(num_levels=3), backbone)
    assert isinstance(reader, VGGFeatures)
    expected, x = [], images
    for module in backbone.features:
        if isinstance(module, nn.MaxPool2d):
            x = module(x)
        else:
            x = module.conv(x)
            expected.append(x.clone())
            x = x.relu()
    pyramid = reader(backbone, images)
    # Sides are rounded down at every pooling.
    assert pyramid.sizes == ((8, 12), (4, 6), (2, 3))
    assert [len(level) for level in pyramid] == [2, 2, 1]
    for feature, other in zip([feature for level in pyramid for feature in level], [*expected[-4:], x]):
        assert torch.equal(feature, other)
    assert (pyramid[0][0] < 0).any() and (pyramid[2][0] >= 0).all()
    assert reader.channels(backbone) == ((512, 512), (512, 512), (512, ))


@torch.no_grad()
def test_leaves_no_trace() -> None:
    backbone, images = build(), torch.randn(1, 3, 64, 64)
    before = backbone(images)[-1]
    reader = build_feature_reader(None, backbone)
    first, second = reader(backbone, images), reader(backbone, images)
    assert torch.equal(backbone(images)[-1], before)
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in backbone.modules()) == 0
    assert all(torch.equal(a, b) for level, other in zip(first, second) for a, b in zip(level, other))
    assert torch.equal(first[-1][0], before)
    # Four levels by default: stride 4 comes before.
    assert reader.channels(backbone)[0] == (256, 256)


@torch.no_grad()
def test_batch_norm_is_read_before_the_relu() -> None:
    backbone, images = build(norm_cfg=dict(type='BN')), torch.randn(1, 3, 64, 64)
    last = build_feature_reader(None, backbone)(backbone, images)[-2][-1]
    assert (last < 0).any()
    assert torch.equal(backbone.features[-1](last.relu()), backbone(images)[-1])


def test_the_last_pooling_is_needed() -> None:
    backbone = build(with_last_pool=False)
    with pytest.raises(ValueError, match='with_last_pool=True'):
        build_feature_reader(None, backbone).channels(backbone)

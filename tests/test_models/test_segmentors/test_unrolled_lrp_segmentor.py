"""The segmentor: tying, chunks, classes, sizes, statistics, precision, and what it refuses."""
import math
from typing import Any

import pytest
import torch
from torch import nn

from mmfss.models import UnrolledLRPSegmentor
from mmfss.models.relevance import rules
from mmfss.registry import MODELS
from mmfss.utils.config_options import ConfigError
from tests.tiny.unrolled_lrp import RESNET, VGG, batch, build, gradients

MOBILENET = dict(type='mmpretrain.MobileNetV2', widen_factor=0.25, out_indices=(7, ))


def test_decoder_has_no_parameter() -> None:
    model = build()
    assert not list(model.decode_head.parameters())
    assert {name.split('.')[0] for name in model.state_dict()} == {'backbone', 'cls_head'}


def test_tied_gradient_is_the_sum_of_both_uses() -> None:
    data = batch()
    tied, untied = gradients(build(), *data), gradients(build(tied=False), *data)
    decoder = {name: value for name, value in untied.items() if name.startswith('decode_head')}
    names = {f'decode_head.weights.{name.removesuffix(".weight").replace(".", "_")}': name for name in tied}
    names['decode_head.weights.backbone_stem_0'] = 'backbone.conv1.weight'
    assert len(decoder) == 22 and all(float(value.abs().max()) > 0 for value in decoder.values())
    for name, value in decoder.items():
        weight = names[name]
        both = untied[weight] + value
        torch.testing.assert_close(tied[weight], both, rtol=0, atol=1e-4 * float(both.abs().max()))


@pytest.mark.parametrize('bn_detach', ['ratio', 'stat', 'none'])
def test_gradients_of_batch_norm(bn_detach: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published: none from the maps to gamma. Not detached and with unpool='sum' it is that of gradient x input."""
    monkeypatch.setattr(rules, 'TINY', 1e-200)
    data = batch()
    model = build(bn_detach=bn_detach, unpool='sum', epsilon=0., cls_loss_weight=0).double()
    found = gradients(model, data[0].double(), data[1])
    generic = build(type='GradientInputHead', cls_loss_weight=0).double()
    expected = gradients(generic, data[0].double(), data[1])
    same = {name for name, value in expected.items() if name in found and (
        found[name] - value).abs().max() < 1e-6 * value.abs().max()}
    weights = {name for name in expected if name.endswith('weight')}
    # In eval mode the statistics have no gradient anyway.
    assert (weights <= same) == (bn_detach != 'ratio')


def test_statistics_are_updated_once() -> None:
    data, model, plain = batch(), build().train(), build().train()
    gradients(model, *data)
    plain.classify(data[0])
    assert int(model.backbone.bn1.num_batches_tracked) == 1
    for name, value in model.named_buffers():
        assert value.equal(dict(plain.named_buffers())[name])


@pytest.mark.parametrize('size', [(33, 47), (64, 64), (20, 90)])
@pytest.mark.parametrize('backbone', [RESNET, VGG])
def test_any_size_and_chosen_classes(backbone: dict, size: tuple[int, int]) -> None:
    if backbone is VGG and min(size) < 32:
        return
    model, x = build(backbone), torch.rand(2, 3, *size)
    with torch.no_grad():
        logits, maps = model.classify_and_segment(x)
        chosen = model.classify_and_segment(x, classes=[3, 1])[1]
        seg_logits, cls_logits = model(x)
    assert maps.shape == (2, 4, *size) and maps.dtype is torch.float32 and not maps.requires_grad
    torch.testing.assert_close(chosen, maps[:, [3, 1]], rtol=1e-3, atol=1e-3 * float(maps.std()))
    assert seg_logits.equal(maps) and cls_logits.equal(logits)


def test_predictions() -> None:
    data, model = batch(2), build()
    data[1][0].set_metainfo(dict(ori_shape=(64, 80)))
    with torch.no_grad():
        samples = model.predict(*data)
        logits, maps = model.classify_and_segment(data[0])
    assert samples[0].pred_sem_seg.data.shape == (1, 64, 80)
    assert samples[1].seg_logits.data.equal(maps[1]) and samples[1].pred_sem_seg.data[0].equal(maps[1].argmax(0))
    assert samples[1].cls_logits.equal(logits[1])


def test_losses() -> None:
    inputs, samples = batch(unmasked=(0, 1, 2, 3))
    losses = build().loss(inputs, samples)
    assert float(losses['loss_seg']) == 0 and float(losses['loss_cls']) > 0
    assert all(value.isfinite().all() for value in gradients(build(), inputs, samples).values())
    # Stage 1: nothing is decoded.
    stage1 = build(seg_loss_weight=0, cls_loss_over_batch='mean')
    stage1.decode_head.decode = None
    torch.testing.assert_close(4 * stage1.loss(inputs, samples)['loss_cls'], losses['loss_cls'])


def test_learning() -> None:
    """Four labelled images are learned: the loss starts near ln K and falls."""
    model = build(cls_loss_weight=0, chunk=4, iterative_gradients=False, unpool='sum', bn_detach='none')
    inputs, samples = batch(unmasked=(), size=(24, 32))
    colours = torch.rand(4, 3, generator=torch.Generator().manual_seed(3))
    for image, sample in zip(inputs, samples):
        image[:] = 0.2 * image + colours[sample.gt_sem_seg.data[0] % 255].permute(2, 0, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = model.loss(inputs, samples)['loss_seg']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert abs(losses[0] - math.log(4)) < 0.01 and min(losses) < 0.87 * losses[0]


def test_bfloat16() -> None:
    """The decoder stays in float32: its offsets vanish in half precision."""
    data = batch()
    plain = {name: float(value) for name, value in build().loss(*data).items()}
    model = build()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(*data)
    assert all(value.dtype is torch.float32 for value in losses.values())
    for name, value in losses.items():
        assert float(value) == pytest.approx(plain[name], rel=0.05)
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


class TestGenericPath:
    """Gradient x input for any network."""

    def test_is_lrp_of_relu_networks(self) -> None:
        x = torch.rand(2, 3, 40, 50)
        generic, lrp = build(type='GradientInputHead'), build(unpool='sum')
        with torch.no_grad():
            found, expected = generic.encode_decode(x), lrp.encode_decode(x)
        assert generic.decode_head.exact and not found.requires_grad
        assert float((found - expected).abs().max()) < 0.05 * float(expected.std())

    @pytest.mark.parametrize('backbone', [MOBILENET, dict(
        type='mmpretrain.ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[4, 8, 12, 16]), out_indices=(3, ),
        gap_before_final_norm=False)])
    def test_any_backbone(self, backbone: dict) -> None:
        channels = 1280 if backbone is MOBILENET else 16
        cls_head = dict(type='PooledClassifier', in_channels=channels, num_classes=4)
        model = build(backbone, type='GradientInputHead', cls_head=cls_head).train()
        assert not model.decode_head.exact
        assert not any(module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d))
        found = gradients(model, *batch(2))
        assert len(found) == len(list(model.parameters()))
        assert all(value.isfinite().all() for value in found.values())


class TestBadInput:

    @pytest.mark.parametrize(('backbone', 'head', 'message'), [
        (dict(RESNET, drop_path_rate=0.1), {}, r'model.backbone.layer1.1.drop_path \(DropPath\): drop path must be 0'),
        (dict(RESNET, avg_down=True), {}, r'model.backbone.layer2.0.downsample.0 \(AvgPool2d\): this layer has no rel'),
        (dict(VGG, act_cfg=dict(type='LeakyReLU')), {}, r'model.backbone.features.0.activate \(LeakyReLU\)'),
        (dict(RESNET, with_cp=True), {}, 'with_cp must be False'),
        (dict(VGG, num_classes=4), {}, 'num_classes must be -1 for a VGG'),
        (MOBILENET, {}, "MobileNetV2 has no relevance rules.*'GradientInputHead'"),
        (RESNET, dict(unpool='mean'), 'decode_head.unpool must be one of last, sum'),
        (RESNET, dict(bn_detach='all'), 'decode_head.bn_detach must be one of ratio, stat, none'),
        (RESNET, dict(alpha=0.5), 'decode_head.alpha must be 1 or more'),
        (RESNET, dict(epsilon=-1.), 'decode_head.epsilon must be 0 or more'),
        (RESNET, dict(chunk=0), 'decode_head.chunk must be 1 or more'),
        (RESNET, dict(seg_loss_weight=0, cls_loss_weight=0), 'not both 0'),
        (RESNET, dict(cls_loss_over_batch='max'), "must be 'sum' or 'mean'")])
    def test_models(self, backbone: dict, head: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            build(backbone, **head)

    def test_classes(self) -> None:
        with pytest.raises(ValueError, match='classes must be some of 0 to 3'):
            build().classify_and_segment(torch.rand(1, 3, 32, 32), classes=[4])

    def test_small_input(self) -> None:
        with pytest.raises(ValueError, match='at least 32 x 32 pixels.*20 x 40'):
            build(VGG).encode_decode(torch.rand(1, 3, 20, 40))

    def test_samples(self) -> None:
        inputs, samples = batch(1)
        del samples[0].gt_image_labels
        with pytest.raises(ConfigError, match='"0.jpg" has no image-level labels.*PackPartialLabels'):
            build().loss(inputs, samples)
        with pytest.raises(ConfigError, match='The data have 7 classes, the model 4'):
            build().loss(*batch(1, num_classes=7))


def test_deep_stem_and_fewer_stages() -> None:
    model = build(dict(RESNET, deep_stem=True, num_stages=3, out_indices=(1, ), strides=(1, 2, 1), dilations=(1, 1, 2)),
                  unpool='sum', cls_head=dict(type='PooledClassifier', in_channels=8, num_classes=4)).double()
    x = torch.rand(1, 3, 40, 40, dtype=torch.float64).requires_grad_()
    logits = model.classify(x)
    gradient, = torch.autograd.grad(logits[:, 1].sum(), x)
    maps = model.classify_and_segment(x, [1])[1]
    assert float((maps[:, 0] - (x * gradient).sum(1)).abs().max()) < 1e-3 * float(maps.std())


def test_registry() -> None:
    model = build()
    assert isinstance(model, UnrolledLRPSegmentor) and MODELS.get('UnrolledLRPSegmentor') is UnrolledLRPSegmentor

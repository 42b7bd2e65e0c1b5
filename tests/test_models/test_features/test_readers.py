import pytest
import torch
from torch import nn

from mmfss.models.features import FeaturePyramid, build_feature_reader
from mmfss.registry import MODELS

TINY_SWIN = dict(type='mmpretrain.SwinTransformer', img_size=128, window_size=4,
                 arch=dict(embed_dims=16, depths=[2, 2, 4, 2], num_heads=[1, 2, 4, 8]))
TINY_MMSEG_SWIN = dict(type='mmseg.SwinTransformer', embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8),
                       window_size=4)
TINY_MMSEG_VIT = dict(type='mmseg.VisionTransformer', img_size=64, patch_size=16, embed_dims=32, num_layers=4,
                      num_heads=2)
TINY_VIT = dict(type='mmpretrain.VisionTransformer', patch_size=14, img_size=56, out_type='featmap',
                arch=dict(embed_dims=32, num_layers=6, num_heads=2, feedforward_channels=64))

# Config, image side, sides of the levels, layers of each level.
BACKBONES = {
    'resnet18': (dict(type='mmpretrain.ResNet', depth=18), 64, (16, 8, 4, 2), (2, 2, 2, 2)),
    'resnet50': (dict(type='mmpretrain.ResNet', depth=50, base_channels=8, stem_channels=8), 64, (16, 8, 4, 2),
                 (3, 4, 6, 3)),
    'mmseg_resnet18': (dict(type='mmseg.ResNet', depth=18), 65, (17, 9, 5, 3), (2, 2, 2, 2)),
    'mmseg_resnetv1c18': (dict(type='mmseg.ResNetV1c', depth=18, dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1)), 64,
                          (16, 8, 8, 8), (2, 2, 2, 2)),
    'swin': (TINY_SWIN, 128, (32, 16, 8, 4), (2, 2, 4, 2)),
    'mmseg_swin': (TINY_MMSEG_SWIN, 64, (16, 8, 4, 2), (2, 2, 2, 2)),
    'convnext': (dict(type='mmpretrain.ConvNeXt', arch='atto'), 64, (16, 8, 4, 2), (2, 2, 6, 2)),
    'mobilenetv2': (dict(type='mmpretrain.MobileNetV2', widen_factor=0.5), 65, (17, 9, 5, 3), (2, 3, 7, 4)),
    'mmseg_mobilenetv2': (dict(type='mmseg.MobileNetV2', widen_factor=0.5), 64, (16, 8, 4, 2), (2, 3, 7, 4)),
    'mmseg_mobilenetv2_dilated': (dict(type='mmseg.MobileNetV2', widen_factor=0.5, strides=(1, 2, 2, 1, 1, 1, 1),
                                       dilations=(1, 1, 1, 2, 2, 4, 4)), 64, (16, 8, 8, 8), (2, 3, 7, 4)),
    'mobilenetv3': (dict(type='mmpretrain.MobileNetV3', arch='small'), 64, (16, 8, 4, 2), (1, 2, 5, 3)),
    'mmseg_mobilenetv3': (dict(type='mmseg.MobileNetV3', arch='small'), 64, (16, 8, 8, 8), (1, 2, 5, 3)),
    'vit': (TINY_VIT, 56, (16, 8, 4, 2), (1, 2, 1, 2)),
    'mmseg_vit': (TINY_MMSEG_VIT, 64, (16, 8, 4, 2), (1, 1, 1, 1)),
}


def build(name: str, **kwargs) -> tuple[nn.Module, torch.Tensor]:
    cfg, side = BACKBONES[name][:2]
    torch.manual_seed(0)
    backbone = MODELS.build(dict(cfg, **kwargs))
    backbone.eval()
    return backbone, torch.randn(2, 3, side, side)


def count_hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def last_maps(pyramid: FeaturePyramid) -> list[torch.Tensor]:
    return [level[-1] for level in pyramid]


@pytest.mark.parametrize('name', BACKBONES)
class TestFamilies:

    @torch.no_grad()
    def test_levels(self, name: str) -> None:
        backbone, images = build(name)
        reader = build_feature_reader(None, backbone)
        pyramid = reader(backbone, images)
        _, _, sides, counts = BACKBONES[name]
        assert pyramid.sizes == tuple((side, side) for side in sides)
        assert tuple(len(level) for level in pyramid) == counts
        assert reader.channels(backbone) == tuple(tuple(feature.shape[1] for feature in level) for level in pyramid)
        for level, size in zip(pyramid, pyramid.sizes):
            assert all(feature.shape == (2, feature.shape[1], *size) for feature in level)
        assert pyramid.batch_size == 2 and len(pyramid) == 4

    @torch.no_grad()
    def test_leaves_no_trace(self, name: str) -> None:
        backbone, images = build(name)
        reader = build_feature_reader(None, backbone)
        hooks, before = count_hooks(backbone), backbone(images)
        first, second = reader(backbone, images), reader(backbone, images)
        assert count_hooks(backbone) == hooks
        for mine, other in zip(backbone(images), before):
            torch.testing.assert_close(mine, other, rtol=0, atol=0)
        for level, again in zip(first, second):
            assert all(torch.equal(mine, other) for mine, other in zip(level, again))
        with pytest.raises((RuntimeError, ValueError, AssertionError)):
            reader(backbone, images[:, :2])
        assert count_hooks(backbone) == hooks


class TestAgainstTheBackboneItself:
    """The last map of each level follows from what the backbone returns for that stage."""

    @pytest.mark.parametrize('name', ['resnet18', 'resnet50', 'mmseg_resnet18', 'mmseg_resnetv1c18'])
    @torch.no_grad()
    def test_resnet_before_the_last_relu(self, name: str) -> None:
        backbone, images = build(name, out_indices=(0, 1, 2, 3))
        maps = last_maps(build_feature_reader(None, backbone)(backbone, images))
        for feature, output in zip(maps, backbone(images)):
            assert (feature < 0).any()
            assert torch.equal(feature.relu(), output)

    @torch.no_grad()
    def test_resnet_every_block(self) -> None:
        """Block by block by hand, with a ReLU that works in place."""
        backbone, images = build('resnet50')
        expected, x = [], backbone.maxpool(backbone.relu(backbone.norm1(backbone.conv1(images))))
        for block in (block for name in backbone.res_layers for block in getattr(backbone, name)):
            identity = x if block.downsample is None else block.downsample(x)
            x = block.norm2(block.conv2(block.norm1(block.conv1(x)).relu())).relu()
            x = block.norm3(block.conv3(x)) + identity
            expected.append(x)
            x = x.relu()
        assert all(module.inplace for module in backbone.modules() if isinstance(module, nn.ReLU))
        pyramid = build_feature_reader(None, backbone)(backbone, images)
        for feature, other in zip([feature for level in pyramid for feature in level], expected, strict=True):
            assert torch.equal(feature, other)

    @pytest.mark.parametrize('name', ['swin', 'mmseg_swin', 'convnext'])
    @torch.no_grad()
    def test_blocks_before_the_stage_norm(self, name: str) -> None:
        options = dict(gap_before_final_norm=False) if name == 'convnext' else {}
        backbone, images = build(name, out_indices=(0, 1, 2, 3), **options)
        maps = last_maps(build_feature_reader(None, backbone)(backbone, images))
        for index, (feature, output) in enumerate(zip(maps, backbone(images), strict=True)):
            norm = getattr(backbone, f'norm{index}')
            if name == 'convnext':
                normed = norm(feature)
            else:
                normed = norm(feature.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            torch.testing.assert_close(normed, output, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(('name', 'indices'), [
        ('mobilenetv2', (1, 2, 4, 6)),
        ('mmseg_mobilenetv2', (1, 2, 4, 6)),
        ('mobilenetv3', (1, 3, 8, 11)),
        ('mmseg_mobilenetv3', (1, 3, 8, 11)),
    ])
    @torch.no_grad()
    def test_inverted_residuals(self, name: str, indices: tuple) -> None:
        backbone, images = build(name, out_indices=indices)
        maps = last_maps(build_feature_reader(None, backbone)(backbone, images))
        for feature, output in zip(maps, backbone(images), strict=True):
            assert torch.equal(feature, output)

    @torch.no_grad()
    def test_vit_patches_of_the_last_block(self) -> None:
        backbone, images = build('vit', final_norm=False)
        reader = build_feature_reader(dict(scales=(4, 2, 1, 1)), backbone)
        output, = backbone(images)
        assert torch.equal(reader(backbone, images)[3][-1], output)

    @torch.no_grad()
    def test_vit_at_another_size_and_shape(self) -> None:
        backbone, _ = build('vit')
        pyramid = build_feature_reader(None, backbone)(backbone, torch.randn(1, 3, 70, 98))
        assert pyramid.sizes == ((20, 28), (10, 14), (5, 7), (2, 4))

    @torch.no_grad()
    def test_vit_blocks_by_number(self) -> None:
        backbone, images = build('vit')
        pyramid = build_feature_reader(dict(scales=(1, 1), indices=(1, 5)), backbone)(backbone, images)
        every = build_feature_reader(dict(scales=(1, )), backbone)(backbone, images)[0]
        assert torch.equal(pyramid[0][0], every[1]) and torch.equal(pyramid[1][0], every[5])


class TestModuleFeatures:
    LEVELS = [['layer1.0', 'layer1.1'], ['layer3.1']]

    @torch.no_grad()
    def test_named_modules(self) -> None:
        backbone, images = build('resnet18')
        reader = build_feature_reader(dict(type='ModuleFeatures', levels=self.LEVELS), backbone)
        assert reader.channels(backbone) == ((64, 64), (256, ))
        pyramid, family = reader(backbone, images), build_feature_reader(None, backbone)(backbone, images)
        assert pyramid.sizes == ((16, 16), (4, 4))
        for feature, before_relu in zip((*pyramid[0], *pyramid[1]), (*family[0], family[2][1]), strict=True):
            assert torch.equal(feature, before_relu.relu())
        assert count_hooks(backbone) == 0

    @torch.no_grad()
    def test_following_activation_in_place_does_not_overwrite(self) -> None:
        class Backbone(nn.Sequential):
            pass

        backbone, images = Backbone(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True)), torch.randn(2, 3, 9, 9)
        reader = build_feature_reader(dict(type='ModuleFeatures', levels=[['0']]), backbone)
        feature = reader(backbone, images)[0][0]
        assert (feature < 0).any() and torch.equal(feature, backbone[0](images))

    def test_measuring_channels_keeps_the_mode(self) -> None:
        backbone, _ = build('resnet18')
        backbone.train()
        statistics = backbone.norm1.running_mean.clone()
        reader = build_feature_reader(dict(type='ModuleFeatures', levels=self.LEVELS, probe_size=64), backbone)
        assert reader.channels(backbone) == ((64, 64), (256, ))
        assert backbone.layer1.training and torch.equal(statistics, backbone.norm1.running_mean)

    def test_unknown_module(self) -> None:
        backbone, _ = build('resnet18')
        reader = build_feature_reader(dict(type='ModuleFeatures', levels=[['stage7']]), backbone)
        with pytest.raises(ValueError, match='ResNet has no module "stage7"; it has: conv1'):
            reader.channels(backbone)


class TestErrors:

    def test_unknown_family(self) -> None:
        with pytest.raises(ValueError, match='No feature reader knows the backbone Sequential.*ResNet.*ModuleFeatures'):
            build_feature_reader(None, nn.Sequential())

    def test_too_few_levels(self) -> None:
        backbone = MODELS.build(
            dict(type='mmpretrain.ResNet', depth=18, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1),
                 out_indices=(2, )))
        with pytest.raises(ValueError, match='ResNetFeatures reads 4 levels but ResNet has only 3'):
            build_feature_reader(None, backbone).channels(backbone)

    def test_no_levels(self) -> None:
        with pytest.raises(ValueError, match='num_levels must be at least 1, got 0'):
            build_feature_reader(dict(type='ResNetFeatures', num_levels=0), nn.Identity())


def test_pyramid_split_and_map() -> None:
    pyramid = FeaturePyramid(((torch.arange(10.).view(5, 2, 1, 1), ), (torch.zeros(5, 3, 1, 1), )))
    first, second = pyramid.split((2, 3))
    assert (first.batch_size, second.batch_size) == (2, 3)
    assert torch.equal(second[0][0], pyramid[0][0][2:])
    assert second.map(lambda feature: feature + 1)[1][0].unique().item() == 1

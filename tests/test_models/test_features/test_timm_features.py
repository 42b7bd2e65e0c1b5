"""Features of timm models: DINOv3 against stored ones, pyramids of any network."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmfss.models.features import FeaturePyramid, build_feature_reader
from mmfss.registry import MODELS
from tests.references.seeded import seeded_array, seeded_image, seeded_state_dict

timm = pytest.importorskip('timm', reason='timm is not installed (extra "dinov3")')

DATA = Path(__file__).parents[2] / 'data' / 'dinov3'
TINY = dict(type='TIMMVisionTransformer', model_name='vit_small_patch16_dinov3', embed_dim=48, depth=5, num_heads=3)
TINY_DINOV2 = dict(type='TIMMVisionTransformer', model_name='vit_small_patch14_reg4_dinov2', embed_dim=48, depth=4,
                   num_heads=3, img_size=56)  # yapf: disable


def build(cfg: dict) -> nn.Module:
    torch.manual_seed(0)
    backbone = MODELS.build(cfg)
    backbone.eval()
    return backbone


@torch.no_grad()
def read(backbone: nn.Module, images: Tensor, **reader) -> FeaturePyramid:
    return build_feature_reader(reader, backbone)(backbone, images)


@pytest.mark.parametrize('variant', ['', '_qkvb'])
def test_dinov3_small_gives_the_stored_features(variant: str) -> None:
    """The official model gives the same features with these weights (difference 0.0)."""
    name = f'vit_small_patch16_dinov3{variant}'
    backbone, golden = build(dict(type='TIMMVisionTransformer', model_name=name)), np.load(DATA / 'dinov3_s.npz')
    gains = (('cls_token', 20), ('reg_token', 40), ('*gamma_?', 10), ('*q_bias', 4), ('*v_bias', 4))
    weights = seeded_state_dict(json.loads((DATA / 'manifest_dinov3_s.json').read_text())[name], 3, gains)
    backbone.timm_model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=False)
    images = torch.from_numpy(seeded_image('image', (1, 3, 64, 96), 3))
    for key, norm in (('block', False), ('norm', True)):
        (feature, ), = read(backbone, images, scales=[1], indices=[-1], norm=norm)
        feature = feature[0].double().numpy()
        probe = np.einsum('chw,c->hw', feature, seeded_array(f'probe.{key}', (384, ), 0)) / 384**0.5
        np.testing.assert_allclose(probe, golden[f'{key}{variant}_probe'], rtol=0, atol=2e-5)
        np.testing.assert_allclose(feature.mean((1, 2)), golden[f'{key}{variant}_channel_mean'], rtol=0, atol=2e-5)
        np.testing.assert_allclose([feature.mean(), feature.std()], golden[f'{key}{variant}_mean_std'], rtol=0,
                                   atol=2e-5)  # yapf: disable


class TestTransformers:

    @pytest.mark.parametrize(('cfg', 'patch'), [(TINY, 16), (TINY_DINOV2, 14)])
    def test_pyramid(self, cfg: dict, patch: int) -> None:
        backbone = build(cfg)
        images = torch.randn(2, 3, 4 * patch, 6 * patch)
        pyramid = read(backbone, images)
        assert pyramid.sizes == ((16, 24), (8, 12), (4, 6), (2, 3))
        assert sum(len(level) for level in pyramid) == cfg['depth']
        channels = build_feature_reader(None, backbone).channels(backbone)
        assert channels == tuple((48, ) * len(level) for level in pyramid)

    def test_every_block_by_hand(self) -> None:
        """Patch tokens after each block: the class token and the 4 registers before them are dropped."""
        backbone, images, outputs = build(TINY), torch.randn(2, 3, 32, 48), []
        for block in backbone.timm_model.blocks:
            block.register_forward_hook(lambda module, args, output: outputs.append(output[:, 5:]))
        level, = read(backbone, images, scales=[1])
        for feature, tokens in zip(level, outputs, strict=True):
            assert torch.equal(feature.flatten(2).transpose(1, 2), tokens)
        normed, = read(backbone, images, scales=[1], norm=True, indices=[1, -1])
        for feature, number in zip(normed, (1, 4), strict=True):
            expected = backbone.timm_model.norm(outputs[number])
            torch.testing.assert_close(feature.flatten(2).transpose(1, 2), expected, rtol=0, atol=1e-6)

    def test_stops_after_the_last_block_read(self) -> None:
        backbone, called = build(TINY), []
        for number, block in enumerate(backbone.timm_model.blocks):
            block.register_forward_hook(lambda module, args, output, number=number: called.append(number))
        read(backbone, torch.randn(1, 3, 32, 32), scales=[1], indices=[2])
        assert called == [0, 1, 2]

    def test_gradient_reaches_the_image(self) -> None:
        backbone, images = build(TINY), torch.randn(1, 3, 32, 32, requires_grad=True)
        build_feature_reader(None, backbone)(backbone, images)[3][-1].sum().backward()
        assert images.grad.abs().sum() > 0


@pytest.mark.parametrize(('name', 'sides', 'channels'), [
    ('resnet18', (16, 8, 4, 2), (64, 128, 256, 512)),
    ('convnext_atto', (16, 8, 4, 2), (40, 80, 160, 320)),
    ('mobilenetv3_small_050', (16, 8, 4, 2), (8, 16, 24, 288)),
    ('efficientnet_lite0', (16, 8, 4, 2), (24, 40, 112, 320)),
])
def test_networks_of_several_strides(name: str, sides: tuple, channels: tuple) -> None:
    backbone, images = build(dict(type='mmpretrain.TIMMBackbone', model_name=name)), torch.randn(2, 3, 64, 64)
    pyramid = read(backbone, images)
    assert pyramid.sizes == tuple((side, side) for side in sides)
    assert build_feature_reader(None, backbone).channels(backbone) == tuple((count, ) for count in channels)
    with torch.no_grad():
        expected = backbone.timm_model.forward_intermediates(images, intermediates_only=True)[-4:]
    assert all(torch.equal(feature, other) for (feature, ), other in zip(pyramid, expected, strict=True))
    last, = read(backbone, images, indices=[-1])
    assert torch.equal(last[0], expected[-1])


class TestErrors:

    def test_fewer_blocks_than_scales(self) -> None:
        backbone = build(TINY)
        with pytest.raises(ValueError, match=r'scales \(4, 2, 1, 0.5\) out of 1 blocks: give as many `scales`'):
            build_feature_reader(dict(indices=[-1]), backbone).channels(backbone)

    def test_scales_of_a_convolutional_network(self) -> None:
        backbone = build(dict(type='mmpretrain.TIMMBackbone', model_name='resnet18'))
        with pytest.raises(ValueError, match=r'of one resolution; ResNet has the strides \[2, 4, 8, 16, 32\]'):
            build_feature_reader(dict(scales=(2, 1)), backbone).channels(backbone)

    def test_no_intermediate_features(self) -> None:
        backbone = build(dict(type='mmpretrain.TIMMBackbone', model_name='resnet18', features_only=True))
        with pytest.raises(TypeError, match='FeatureListNet offers no intermediate features.*without features_only'):
            build_feature_reader(None, backbone).channels(backbone)

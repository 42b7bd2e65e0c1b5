"""DINOv3 and DINOv2 with registers through timm: weights in every layout, features against stored ones."""
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_INITIALIZERS
from torch import Tensor, nn

from mmfss.models import FewShotSegmentor
from mmfss.models.backbones import TIMMVisionTransformer, TIMMWeights
from mmfss.registry import MODELS, WEIGHT_INITIALIZERS
from mmfss.utils.checkpoint import CheckpointError

pytest.importorskip('timm', reason='timm is not installed (extra "dinov3")')

TINY_DINOV3 = dict(type='TIMMVisionTransformer', model_name='vit_small_patch16_dinov3', embed_dim=48, depth=3,
                   num_heads=3)  # yapf: disable
TINY_DINOV2 = dict(type='TIMMVisionTransformer', model_name='vit_small_patch14_reg4_dinov2', embed_dim=48, depth=3,
                   num_heads=3, img_size=56)  # yapf: disable


def build(cfg: dict, **changed) -> nn.Module:
    torch.manual_seed(0)
    backbone = MODELS.build({**cfg, **changed})
    for parameter in backbone.parameters():  # nothing is zero or one by initialization
        nn.init.normal_(parameter, std=0.1)
    return backbone


def official_dinov3(weights: dict[str, Tensor], bias: float = 0.) -> dict[str, Tensor]:
    """The names of the authors' files; q, k and v have biases there, those of S, B and L are zero."""
    file = {'mask_token': torch.zeros(1, 48), 'rope_embed.periods': torch.ones(4)}
    for name, value in weights.items():
        name = name.replace('reg_token', 'storage_tokens')
        name = name.replace('gamma_1', 'ls1.gamma').replace('gamma_2', 'ls2.gamma')
        file[name] = value
        if name.endswith('qkv.weight'):
            file[name.replace('weight', 'bias')] = torch.full((len(value), ), bias)
            file[name.replace('weight', 'bias_mask')] = torch.ones(len(value))
    return file


def official_dinov2(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The position of the class token is an entry of its table there."""
    position = torch.full((1, 1, 48), 0.25)
    file = {'mask_token': torch.zeros(1, 48), **weights, 'register_tokens': weights['reg_token'],
            'cls_token': weights['cls_token'] - position,
            'pos_embed': torch.cat((position, weights['pos_embed']), 1)}  # yapf: disable
    del file['reg_token']
    return file


def save(weights: dict[str, Tensor], path: Path) -> dict:
    if path.suffix == '.safetensors':
        from safetensors.torch import save_file
        save_file({name: value.contiguous() for name, value in weights.items()}, path)
    else:
        torch.save(weights, path)
    return dict(type='TIMMWeights', checkpoint=str(path))


class TestWeights:

    @pytest.mark.parametrize(('cfg', 'layout', 'suffix'), [
        (TINY_DINOV3, dict, 'pth'),
        (TINY_DINOV3, dict, 'safetensors'),
        (TINY_DINOV3, official_dinov3, 'pth'),
        (TINY_DINOV2, dict, 'pth'),
        (TINY_DINOV2, official_dinov2, 'pth'),
    ])
    def test_every_layout(self, cfg: dict, layout, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        weights = build(cfg).timm_model.state_dict()
        backbone = build(cfg, init_cfg=save(layout(weights), tmp_path / f'weights.{suffix}'))
        nn.init.zeros_(backbone.timm_model.blocks[0].mlp.fc1.weight)
        backbone.init_weights()
        assert 'has no attribute' not in capsys.readouterr().out  # what timm's filter prints
        loaded = backbone.timm_model.state_dict()
        for name, value in weights.items():
            torch.testing.assert_close(loaded[name], value, rtol=0, atol=1e-7)

    def test_segmentor_loads_them(self, tmp_path: Path) -> None:
        weights = build(TINY_DINOV3).timm_model.state_dict()
        model = FewShotSegmentor(
            {**TINY_DINOV3, 'init_cfg': save(official_dinov3(weights), tmp_path / 'dinov3.pth')},
            head=dict(type='HSNetHead'), features=dict(scales=(2, 1, 0.5)))  # yapf: disable
        model.init_weights()
        assert torch.equal(model.backbone.timm_model.blocks[2].mlp.fc1.weight, weights['blocks.2.mlp.fc1.weight'])

    def test_file_of_another_size(self, tmp_path: Path) -> None:
        cfg = save(official_dinov3(build(TINY_DINOV3).timm_model.state_dict()), tmp_path / 'dinov3_vits16.pth')
        backbone = build(TINY_DINOV3, embed_dim=96, num_heads=6, init_cfg=cfg)
        with pytest.raises(CheckpointError, match=r'dinov3_vits16.pth" is not one of this model \(Eva[^$]*of another '
                           r'shape: cls_token: \(1, 1, 48\) in the file, \(1, 1, 96\) in the model'):
            backbone.init_weights()

    def test_file_of_another_depth(self, tmp_path: Path) -> None:
        cfg = save(build(TINY_DINOV3).timm_model.state_dict(), tmp_path / 'dinov3.pth')
        with pytest.raises(CheckpointError, match='missing in the file: blocks.3'):
            build(TINY_DINOV3, depth=4, init_cfg=cfg).init_weights()

    def test_biases_that_the_model_has_not(self, tmp_path: Path) -> None:
        cfg = save(official_dinov3(build(TINY_DINOV3).timm_model.state_dict(), bias=0.1), tmp_path / 'dinov3.pth')
        with pytest.raises(CheckpointError, match='blocks.0.attn.qkv.bias.*take its variant "_qkvb"'):
            build(TINY_DINOV3, init_cfg=cfg).init_weights()
        build(TINY_DINOV3, model_name='vit_small_patch16_dinov3_qkvb', init_cfg=cfg).init_weights()

    def test_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match='nowhere.pth'):
            build(TINY_DINOV3, init_cfg=dict(type='TIMMWeights', checkpoint='nowhere.pth')).init_weights()
        model = FewShotSegmentor(
            {**TINY_DINOV3, 'init_cfg': dict(type='TIMMWeights', checkpoint='nowhere.pth')},
            head=dict(type='HSNetHead'), features=dict(scales=(2, 1, 0.5)))  # yapf: disable
        with pytest.raises(FileNotFoundError, match='model.backbone.init_cfg.checkpoint'):
            model.init_weights()


def test_timm_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, 'timm')
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'vit_small_patch16_dinov3 comes from timm.*"mmfss\[dinov3\]"'):
        TIMMVisionTransformer('vit_small_patch16_dinov3')


def test_initializer_is_found_in_any_scope() -> None:
    assert MMENGINE_INITIALIZERS.get('TIMMWeights') is WEIGHT_INITIALIZERS.get('TIMMWeights') is TIMMWeights

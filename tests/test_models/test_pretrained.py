"""Backbones as their publishers named the weights, initialized by address or file."""
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from mmfss.converters.published_weights import published_backbone
from mmfss.converters.weight_layouts import swin_layout
from mmfss.models.pretrained import PublishedInit, check_pretrained
from mmfss.registry import MODELS, WEIGHT_INITIALIZERS
from mmfss.utils.checkpoint import CheckpointError
from mmfss.utils.download import DownloadError
from tests.servers import Publisher, publisher

RESNET = dict(type='mmpretrain.ResNet', depth=18)
SWIN = dict(type='mmpretrain.SwinTransformer', img_size=64, window_size=2,
            arch=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4]))
VGG = dict(type='mmpretrain.VGG', depth=11)


def published(layout: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random weights by a publisher's names; the classifier of VGG, 500 MB, is left out."""
    return {name: torch.randn(shape) for name, shape in layout.items() if not name.startswith('classifier')}


def of_torchvision(name: str) -> dict[str, Tensor]:
    with torch.device('meta'):
        model = getattr(torchvision.models, name)()
    return published({name: tuple(value.shape) for name, value in model.state_dict().items()})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    for name in ('MMFSS_OFFLINE', 'http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    with publisher() as served:
        yield served


def serve(server: Publisher, weights: dict) -> dict:
    """Publish weights; return the ``init_cfg`` that names their address."""
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    server.files['/net.pth'] = buffer.getvalue()
    return dict(type='Pretrained', checkpoint=f'{server.address}/net.pth', prefix='backbone.')


def initialized(cfg: dict, init_cfg: dict) -> nn.Module:
    model = MODELS.build(dict(cfg, init_cfg=init_cfg))
    check_pretrained(model, 'model.backbone')
    model.init_weights()
    return model


class TestPublishedNames:

    def test_resnet(self, server: Publisher) -> None:
        """Of torchvision, or of timm, whose names are the same."""
        weights = of_torchvision('resnet18')
        model = initialized(RESNET, serve(server, weights))
        assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
        assert torch.equal(model.bn1.running_mean, weights['bn1.running_mean'])
        assert len(server.requests) == 1  # for the check and the initialization together

    def test_vgg(self, server: Publisher) -> None:
        weights = of_torchvision('vgg11')
        model = initialized(VGG, serve(server, weights))
        assert torch.equal(model.features[4].conv.weight, weights['features.6.weight'])

    def test_swin(self, server: Publisher) -> None:
        weights = published(swin_layout(8, (2, 2, 2, 2), (1, 2, 2, 4), 2, image_size=64))
        model = initialized(SWIN, serve(server, dict(model=weights)))
        block = model.stages[3].blocks[1]
        assert torch.equal(block.attn.w_msa.qkv.weight, weights['layers.3.blocks.1.attn.qkv.weight'])
        assert torch.equal(model.norm3.weight, weights['norm.weight'])

    def test_names_of_mmpretrain(self, server: Publisher) -> None:
        weights = {f'backbone.{name}': value + 1 for name, value in MODELS.build(RESNET).state_dict().items()}
        model = initialized(RESNET, serve(server, dict(state_dict=weights)))
        assert torch.equal(model.conv1.weight, weights['backbone.conv1.weight'])

    def test_file_of_the_publisher(self, tmp_path: Path) -> None:
        weights = of_torchvision('resnet18')
        torch.save(weights, tmp_path / 'net.pth')
        model = initialized(RESNET, dict(type='Pretrained', checkpoint=str(tmp_path / 'net.pth'), prefix='backbone.'))
        assert torch.equal(model.layer4[1].bn2.weight, weights['layer4.1.bn2.weight'])

    def test_without_a_prefix_as_before(self, tmp_path: Path) -> None:
        weights = MODELS.build(RESNET).state_dict()
        torch.save({name: value + 1 for name, value in weights.items()}, tmp_path / 'net.pth')
        model = initialized(RESNET, dict(type='Pretrained', checkpoint=str(tmp_path / 'net.pth')))
        assert torch.equal(model.conv1.weight, weights['conv1.weight'] + 1)

    def test_is_the_initializer_of_every_scope(self) -> None:
        assert WEIGHT_INITIALIZERS.get('Pretrained') is PublishedInit


class TestErrors:

    def test_another_depth(self, server: Publisher) -> None:
        with pytest.raises(CheckpointError, match='net.pth.*are not those of this ResNet.*entries fit'):
            initialized(dict(RESNET, depth=34), serve(server, of_torchvision('resnet18')))

    def test_unknown_network(self, server: Publisher) -> None:
        assert published_backbone({'layer.weight': torch.ones(1)}) is None
        init_cfg = serve(server, {'layer.weight': torch.ones(1)})
        with pytest.raises(CheckpointError, match='0 of .* entries fit'):
            initialized(RESNET, init_cfg)
        with pytest.raises(CheckpointError, match='have no name that begins with "backbone."'):
            MODELS.build(dict(RESNET, init_cfg=init_cfg)).init_weights()

    def test_changed_network(self, server: Publisher) -> None:
        weights = of_torchvision('resnet18')
        weights['layer4.2.conv1.weight'] = torch.ones(1)
        with pytest.raises(CheckpointError, match='(?s)No name in .* begins with .*unexpected: layer4.2.conv1.weight'):
            initialized(RESNET, serve(server, weights))

    def test_no_network(self, server: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv('MMFSS_OFFLINE', '1')
        init_cfg = serve(server, {})
        with pytest.raises(DownloadError, match='config key `model.backbone.init_cfg`.*net.pth.*MMFSS_OFFLINE is set.*'
                           '--cfg-options model.backbone.init_cfg.checkpoint=PATH'):
            initialized(RESNET, init_cfg)

"""Checkpoints of the official HSNet and DMTNet implementations, and torchvision's VGG."""
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models.vgg import cfgs, make_layers

from mmfss.converters.published_weights import convert_dmtnet, convert_hsnet, convert_resnet, vgg_to_mm
from mmfss.converters.weight_layouts import (
    DMTNET_BACKBONES,
    HSNET_BACKBONES,
    dmtnet_layout,
    hsnet_layout,
    resnet_layout,
    vgg_layout,
)
from mmfss.registry import MODELS
from mmfss.utils.checkpoint import CheckpointError
from tests import processes
from tests.references.correlations import load
from tests.tiny.weightless import Weightless

ROOT = Path(__file__).parents[2]
NOT_STORED = re.compile(r'num_batches_tracked$|\.fc\.|\.classifier\.')
BACKBONES = dict(
    resnet50=dict(type='mmpretrain.ResNet', depth=50),
    resnet101=dict(type='mmpretrain.ResNet', depth=101),
    vgg16=dict(type='mmpretrain.VGG', depth=16))
CASES = [('hsnet', backbone) for backbone in HSNET_BACKBONES] + [('dmtnet', backbone) for backbone in DMTNET_BACKBONES]
LAYOUTS = dict(hsnet=hsnet_layout, dmtnet=dmtnet_layout)
CONVERTERS = dict(hsnet=convert_hsnet, dmtnet=convert_dmtnet)
HEADS = dict(hsnet='HSNetHead', dmtnet='DMTNetHead')


def filled(layout: dict, prefix: str = '') -> dict[str, Tensor]:
    """A state dict of a layout; each tensor takes no memory and holds its place in the order."""
    return {prefix + name: torch.tensor(float(i)).expand(shape) for i, (name, shape) in enumerate(layout.items())}


@pytest.mark.parametrize(('method', 'backbone'), [case for case in CASES if case[1] != 'resnet101'])
def test_layouts(method: str, backbone: str) -> None:
    expected = {name: tuple(shape) for name, shape in load(method, f'manifest_{backbone}.json.gz').items()}
    layout = {name: shape for name, shape in LAYOUTS[method](backbone).items() if not NOT_STORED.search(name)}
    assert layout == expected


@pytest.mark.parametrize(('method', 'backbone'), CASES)
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_every_entry_finds_its_place(method: str, backbone: str, prefix: str) -> None:
    source = filled(LAYOUTS[method](backbone), prefix)
    converted, found = CONVERTERS[method](source)
    assert found == dict(model=f'{dict(hsnet="HSNet", dmtnet="DMTNet")[method]} {backbone}')
    options = dict(references='published') if (method, backbone) == ('dmtnet', 'vgg16') else {}
    with Weightless():
        model = MODELS.build(dict(
            type='FewShotSegmentor', backbone=BACKBONES[backbone], features=dict(num_levels=3),
            head=dict(type=HEADS[method], **options)))
    own = {name: value.shape for name, value in model.state_dict().items() if 'num_batches' not in name}
    assert {name: value.shape for name, value in converted.items() if 'num_batches' not in name} == own
    # Nothing is used twice.
    assert len({float(value.flatten()[0]) for value in converted.values()}) == len(converted)


def test_other_files_are_refused() -> None:
    with pytest.raises(CheckpointError, match='not an official HSNet model'):
        convert_hsnet(filled(resnet_layout(50)))
    with pytest.raises(CheckpointError, match='not an official DMTNet model'):
        convert_dmtnet(filled(hsnet_layout('resnet50')))
    with pytest.raises(CheckpointError, match='unexpected: reference_layer1.weight'):
        convert_hsnet(filled(dmtnet_layout('resnet50')))


@torch.no_grad()
def test_vgg_computes_the_same() -> None:
    torch.manual_seed(0)
    official = make_layers(cfgs['B'])
    backbone = MODELS.build(dict(type='mmpretrain.VGG', depth=13))
    backbone.eval()
    state = vgg_to_mm({f'features.{name}': value for name, value in official.state_dict().items()})
    assert backbone.load_state_dict(state) is not None
    images = torch.randn(1, 3, 48, 48)
    torch.testing.assert_close(backbone(images)[-1], official(images))


@pytest.mark.parametrize('depth', [11, 16, 19])
def test_torchvision_vgg(depth: int) -> None:
    converted, found = convert_resnet(filled(vgg_layout(depth)))
    assert found == dict(model=f'vgg{depth}')
    with Weightless():
        backbone = MODELS.build(dict(type='mmpretrain.VGG', depth=depth))
    assert set(converted) == {f'backbone.{name}' for name in backbone.state_dict()}


@pytest.mark.parametrize('method', CONVERTERS)
def test_command_line(method: str, tmp_path: Path) -> None:
    torch.save(filled(resnet_layout(18)), tmp_path / 'other.pth')
    done = processes.run(f'tools/model_converters/{method}2mmfss.py', tmp_path / 'other.pth', tmp_path / 'ours.pth',
                         cwd=ROOT, env=dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', PATH='/usr/bin:/bin'))
    assert done.returncode == 1 and 'other.pth" was not converted' in done.stderr
    assert not (tmp_path / 'ours.pth').exists()

"""Published ScaleProtoSeg models with a U-Net: converted, they compute what a literal forward pass computes."""
import runpy
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor

from mmfss.converters.scaleproto_weights import OfficialModel, convert_scaleproto, read_official
from mmfss.models import ScaleProtoSegmentor
from mmfss.registry import MODELS, register_all_modules
from mmfss.utils.checkpoint import CheckpointError, check_state_dict
from tests.references.seeded import seeded_image, seeded_state_dict
from tests.test_converters.test_scaleproto_weights import Official
from tests.tiny.weightless import Weightless

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs/scaleprotoseg'
TOOL = ROOT / 'tools/model_converters/scaleprotoseg2mmfss.py'
C, M, K, S, RATES = 2, 3, 3, 4, (6, 12, 18, 24)
SEED = 7


def official_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published model of stage 1, ``width`` channels at full resolution."""
    shapes: dict[str, tuple[int, ...]] = {}

    def double_conv(prefix: str, inputs: int, outputs: int) -> None:
        for conv, norm in ((0, 1), (3, 4)):
            shapes[f'{prefix}.double_conv.{conv}.weight'] = (outputs, inputs, 3, 3)
            shapes.update({f'{prefix}.double_conv.{norm}.{name}': (outputs, )
                           for name in ('weight', 'bias', 'running_mean', 'running_var')})
            inputs = outputs

    double_conv('features.base.inc', 3, width)
    for i in range(1, 5):
        double_conv(f'features.base.down{i}.maxpool_conv.1', width * 2**(i - 1), width * 2**i)
    for i in range(1, 5):
        inputs = width * 2**(5 - i)
        shapes[f'features.base.up{i}.up.weight'] = (inputs, inputs // 2, 2, 2)
        shapes[f'features.base.up{i}.up.bias'] = (inputs // 2, )
        double_conv(f'features.base.up{i}.conv', inputs, inputs // 2)
    shapes['features.base.outc.conv.weight'] = (width, width, 1, 1)
    shapes['features.base.outc.conv.bias'] = (width, )
    for s in range(S):
        shapes[f'features.base.aspp.c{s}.weight'] = (width, width, 3, 3)
        shapes[f'features.base.aspp.c{s}.bias'] = (width, )
    shapes['prototype_vectors'] = shapes['ones'] = (S * C * M, width, 1, 1)
    shapes['last_layer.weight'] = (C, S * C * M)
    return shapes


def official_weights(width: int = 4) -> dict[str, Tensor]:
    drawn = seeded_state_dict(official_shapes(width), SEED, [('*.double_conv.?.weight', 1.4), ('*.aspp.c?.weight', 2.)])
    weights = {name: torch.from_numpy(value) for name, value in drawn.items()}
    weights['prototype_vectors'] = weights['prototype_vectors'].sigmoid()
    return weights


def stage_2_weights() -> dict[str, Tensor]:
    weights = official_weights()
    del weights['last_layer.weight']
    groups = seeded_state_dict(
        {f'group_projection.{c}.weight': (K, S * M) for c in range(C)} | {'last_layer_group.weight': (C, C * K)}, SEED)
    groups = {name: torch.from_numpy(value) for name, value in groups.items()}
    return weights | {name: value.softmax(1) if 'projection' in name else value for name, value in groups.items()}


def similarities(weights: dict[str, Tensor], image: Tensor) -> Tensor:
    """Similarity to every prototype, shape (B, P, H, W), written with nothing but functions and the official names."""
    def conv_norm_relu(x: Tensor, prefix: str, conv: int) -> Tensor:
        x = F.conv2d(x, weights[f'{prefix}.{conv}.weight'], padding=1)
        norm = {name: weights[f'{prefix}.{conv + 1}.{name}']
                for name in ('running_mean', 'running_var', 'weight', 'bias')}
        return F.relu(F.batch_norm(x, **norm, training=False, eps=1e-5))

    def double_conv(x: Tensor, name: str) -> Tensor:
        prefix = f'features.base.{name}.double_conv'
        return conv_norm_relu(conv_norm_relu(x, prefix, 0), prefix, 3)

    def plain(name: str) -> tuple[Tensor, Tensor]:
        return weights[f'features.base.{name}.weight'], weights[f'features.base.{name}.bias']

    skips = [double_conv(image, 'inc')]
    for i in range(1, 5):
        skips.append(double_conv(F.max_pool2d(skips[-1], 2), f'down{i}.maxpool_conv.1'))
    x = skips.pop()
    for i in range(1, 5):
        x = torch.cat([skips.pop(), F.conv_transpose2d(x, *plain(f'up{i}.up'), stride=2)], 1)
        x = double_conv(x, f'up{i}.conv')
    x = F.conv2d(x, *plain('outc.conv'))
    vectors = weights['prototype_vectors'].flatten(1).split(C * M)
    distances = []
    for scale, rate in enumerate(RATES):
        z = F.conv2d(x, *plain(f'aspp.c{scale}'), padding=rate, dilation=rate).sigmoid()
        distances.append(((z[:, None] - vectors[scale][None, :, :, None, None])**2).sum(2))
    d = torch.cat(distances, 1)
    return ((d + 1) / (d + 1e-4)).log()


def stage_1_logits(weights: dict[str, Tensor], image: Tensor) -> Tensor:
    return torch.einsum('cp,bphw->bchw', weights['last_layer.weight'], similarities(weights, image))


def stage_2_logits(weights: dict[str, Tensor], image: Tensor) -> Tensor:
    found = similarities(weights, image)
    groups = []
    for c in range(C):
        own = [s * C * M + c * M + m for s in range(S) for m in range(M)]
        groups.append(torch.einsum('kn,bnhw->bkhw', weights[f'group_projection.{c}.weight'], found[:, own]).exp())
    return torch.einsum('cg,bghw->bchw', weights['last_layer_group.weight'], torch.cat(groups, 1))


def segmentor(stage: int, width: int = 4) -> ScaleProtoSegmentor:
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(CONFIGS / f'unet_isbiem_stage{stage}.py').model
    cfg.backbone.base_channels = cfg.decode_head.in_channels = cfg.decode_head.scale_channels = width
    return MODELS.build(cfg).eval()


@torch.no_grad()
@pytest.mark.parametrize('pickled', [False, True], ids=['state_dict', 'module'])
@pytest.mark.parametrize('stage, draw, logits', [(1, official_weights, stage_1_logits),
                                                 (2, stage_2_weights, stage_2_logits)])
def test_same_logits(stage: int, draw, logits, pickled: bool, tmp_path: Path) -> None:
    weights = draw()
    content = weights
    if pickled:
        content = Official(weights)
        content.prototype_class_identity = F.one_hot(torch.arange(S * C * M) // M % C, C).float()
        content.scale_num_prototypes = {s: (s * C * M, (s + 1) * C * M) for s in range(S)}
    torch.save(content, tmp_path / 'em.pth')
    state_dict, meta = convert_scaleproto(read_official(tmp_path / 'em.pth'))
    assert meta == dict(model='ScaleProtoSeg', stage=stage, prototypes=24)
    model = segmentor(stage)
    check_state_dict(model, state_dict, 'em.pth')
    model.load_state_dict(state_dict, strict=False)
    image = torch.from_numpy(seeded_image('image', (2, 3, 32, 48), SEED))
    expected = logits(weights, image)
    assert expected.shape == (2, C, 32, 48) and expected.std() > 0.1
    torch.testing.assert_close(model.decode_head(model.extract_feat(image)), expected, rtol=1e-4, atol=1e-4)


def test_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def call(source: str) -> None:
        monkeypatch.setattr(sys, 'argv', ['scaleprotoseg2mmfss.py', source, 'converted.pth'])
        runpy.run_path(str(TOOL), run_name='__main__')

    monkeypatch.chdir(tmp_path)
    torch.save(Official(official_weights()), 'push_last.pth')
    call('push_last.pth')
    assert capsys.readouterr().out == 'converted.pth: model ScaleProtoSeg, stage 1, prototypes 24\n'
    written = torch.load('converted.pth', weights_only=True)
    assert written['meta'] == dict(source='push_last.pth', model='ScaleProtoSeg', stage=1, prototypes=24)
    segmentor(1).load_state_dict(written['state_dict'])
    torch.save({'weight': torch.zeros(1)}, 'other.pth')
    for name, message in (('other.pth', '1 unknown entries: weight'), ('none.pth', '"none.pth" does not exist')):
        with pytest.raises(SystemExit) as error:
            call(name)
        assert error.value.code == 1 and message in capsys.readouterr().err


def test_full_size_fits_the_config() -> None:
    """Every weight of the published size has its place, and nothing of the model is left without one."""
    weights = {name: torch.empty(shape, device='meta') for name, shape in official_shapes(64).items()}
    state_dict, _ = convert_scaleproto(OfficialModel(weights))
    with Weightless():
        model = segmentor(1, 64)
    own = {name: value.shape for name, value in model.state_dict().items() if not name.endswith('num_batches_tracked')}
    assert own == {name: value.shape for name, value in state_dict.items()}


@pytest.mark.parametrize('name', ['up5.up.weight', 'up1.up.kernel.weight', 'inc.double_conv.2.weight',
                                  'down1.double_conv.0.weight', 'outc.weight'])
def test_other_unets(name: str) -> None:
    weights = official_weights()
    weights[f'features.base.{name}'] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=f'or a U-Net: it has 1 unknown entries: features.base.{name}'):
        convert_scaleproto(OfficialModel(weights))


def test_gradients_reach_all_of_the_backbone() -> None:
    model = segmentor(1).train()
    image = torch.from_numpy(seeded_image('image', (2, 3, 32, 32), SEED))
    model.decode_head(model.extract_feat(image)).sum().backward()
    assert all(parameter.grad.any() for parameter in model.backbone.project.parameters())
    assert all(block.upsample.weight.grad.any() for block in model.backbone.decoder)

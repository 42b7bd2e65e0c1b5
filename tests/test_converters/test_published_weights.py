import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mmfss.commands.model_converters.published_weights import main
from mmfss.converters.published_weights import (
    convert_dcama,
    convert_file,
    convert_resnet,
    convert_swin,
    published_model,
    swin_to_mm,
    unfold_order,
)
from mmfss.converters.weight_layouts import (
    DCAMA_BACKBONES,
    dcama_layout,
    dmtnet_layout,
    hsnet_layout,
    resnet_layout,
    swin_layout,
)
from mmfss.engine.hooks import CheckpointGuardHook
from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS
from mmfss.utils.checkpoint import CheckpointError, check_state_dict
from tests import processes
from tests.references.dcama import load
from tests.tiny.weightless import Weightless

ROOT = Path(__file__).parents[2]
# Entries that the reference lists leave out, because they are computed.
COMPUTED = re.compile(r'num_batches_tracked$|relative_position_index$|attn_mask$|\.pe$')
BACKBONES = dict(
    resnet50=dict(type='mmpretrain.ResNet', depth=50),
    resnet101=dict(type='mmpretrain.ResNet', depth=101),
    swin=dict(type='mmpretrain.SwinTransformer', arch='base', img_size=384, window_size=12))


def filled(layout: dict, prefix: str = '') -> dict[str, Tensor]:
    """A state dict of a layout; each tensor takes no memory and holds its place in the order."""
    return {prefix + name: torch.tensor(float(i)).expand(shape) for i, (name, shape) in enumerate(layout.items())}


def small_swin(window_size: int = 2) -> dict:
    return swin_layout(8, (2, 2, 2, 2), (1, 2, 2, 4), window_size, image_size=32 * window_size)


@pytest.fixture(scope='module', params=DCAMA_BACKBONES)
def backbone(request: pytest.FixtureRequest) -> str:
    return request.param


class TestLayouts:

    def test_names_shapes_and_order(self, backbone: str) -> None:
        layout = dcama_layout(backbone)
        assert len(layout) == dict(resnet50=407, resnet101=713, swin=451)[backbone]
        expected = {name: tuple(shape) for name, shape in load(f'manifest_{backbone}.json.gz').items()}
        assert [(name, shape) for name, shape in layout.items() if not COMPUTED.search(name)] == list(expected.items())

    def test_attention_masks_of_swin(self) -> None:
        masks = {name: shape for name, shape in dcama_layout('swin').items() if name.endswith('attn_mask')}
        assert len(masks) == 11
        assert masks['feature_extractor.layers.0.blocks.1.attn_mask'] == (64, 144, 144)
        assert masks['feature_extractor.layers.2.blocks.17.attn_mask'] == (4, 144, 144)


class TestDCAMA:

    @pytest.mark.parametrize('prefix', ['', 'module.'])
    def test_gives_exactly_the_entries_of_our_model(self, backbone: str, prefix: str) -> None:
        state_dict, found = convert_dcama(filled(dcama_layout(backbone), prefix))
        assert found == dict(model=f'DCAMA {backbone}', matched_by='name')
        with Weightless():
            model: FewShotSegmentor = MODELS.build(
                dict(type='FewShotSegmentor', backbone=BACKBONES[backbone], head=dict(type='DCAMAHead')))
        check_state_dict(model, state_dict, 'converted')

    @pytest.mark.parametrize('by_position', [False, True])
    @pytest.mark.parametrize('absent', ['relative_position_index$', r'(relative_position_index|attn_mask|pe\.\d\.pe)$'])
    def test_computed_entries_may_be_absent(self, absent: str, by_position: bool) -> None:
        """What the network computes from its config need not be in the file, for the converter and for the model."""
        source = {name: value for name, value in filled(dcama_layout('swin')).items() if not re.search(absent, name)}
        if by_position:
            if 'attn_mask' not in absent:
                pytest.skip('The order decides with all computed entries, or with none.')
            source = {f'entry{number}': value for number, value in enumerate(source.values())}
        state_dict, found = convert_dcama(source)
        assert found == dict(model='DCAMA swin', matched_by='position' if by_position else 'name')
        with Weightless():
            model = MODELS.build(
                dict(type='FewShotSegmentor', backbone=BACKBONES['swin'], head=dict(type='DCAMAHead')))
        check_state_dict(model, state_dict, 'converted')
        absent_of_model = set(model.state_dict()) - set(state_dict)
        assert len(absent_of_model) == 24 and all('relative_position_index' in name for name in absent_of_model)

    def test_head_names(self) -> None:
        layout = dcama_layout('resnet50')
        source = filled(layout)
        state_dict, _ = convert_dcama(source)
        for theirs, ours in (('DCAMA_blocks.0.linears.0.weight', 'attention.0.query.weight'),
                             ('DCAMA_blocks.2.linears.1.bias', 'attention.2.key.bias'),
                             ('conv1.0.weight', 'refine.2.0.weight'), ('conv2.4.bias', 'refine.1.4.bias'),
                             ('conv3.6.weight', 'refine.0.6.weight'), ('conv4.3.weight', 'merge.1.3.weight'),
                             ('conv5.3.weight', 'merge.0.3.weight'), ('mixer1.0.weight', 'mixer1.0.weight'),
                             ('mixer3.2.bias', 'mixer3.2.bias')):
            assert torch.equal(state_dict[f'head.{ours}'], source[f'model.{theirs}']), theirs

    def test_other_names_in_the_same_order(self, backbone: str) -> None:
        layout = dcama_layout(backbone)
        by_name, _ = convert_dcama(filled(layout))
        renamed = {f'entry{i}': value for i, value in enumerate(filled(layout).values())}
        by_position, found = convert_dcama(renamed)
        assert found['matched_by'] == 'position'
        assert list(by_name) == list(by_position)
        assert all(torch.equal(value, by_position[name]) for name, value in by_name.items())

    def test_other_names_in_another_order(self) -> None:
        source = list(filled(dcama_layout('resnet50')).values())
        source[0], source[1] = source[1], source[0]
        with pytest.raises(CheckpointError, match='not an official DCAMA model: 407 entries'):
            convert_dcama({f'entry{i}': value for i, value in enumerate(source)})

    def test_differences_are_listed(self) -> None:
        source = filled(dcama_layout('resnet101'))
        del source['model.conv4.0.weight']
        source['model.extra'] = torch.zeros(3)
        source['model.mixer3.2.bias'] = torch.zeros(21)
        with pytest.raises(CheckpointError) as error:
            convert_dcama(source)
        for line in ('3 differences to the nearest (resnet101, 713 entries)', 'missing: model.conv4.0.weight',
                     'unexpected: model.extra', 'model.mixer3.2.bias: shape (21,) instead of (2,)'):
            assert line in str(error.value)

    def test_backbone_alone(self) -> None:
        with pytest.raises(CheckpointError, match=r'differences to the nearest \(resnet'):
            convert_dcama(filled(resnet_layout(50)))


class TestSwin:

    def test_unfold_order(self) -> None:
        channels, old = 5, torch.arange(40.).view(2, 20)
        new = unfold_order(old)
        for c in range(channels):
            for row in (0, 1):
                for col in (0, 1):
                    assert torch.equal(new[:, 4 * c + 2 * row + col], old[:, (row + 2 * col) * channels + c])

    def test_reference_table(self) -> None:
        """Names and operations of every entry of Swin-B."""
        manifest = load('manifest_swin.json.gz')
        shapes = {name.removeprefix('feature_extractor.'): shape for name, shape in manifest.items()}
        for theirs, ours, operation in load('key_map_swin.json.gz'):
            value = torch.arange(shapes[theirs][-1]).float().expand(shapes[theirs])
            converted = swin_to_mm({theirs: value})
            assert list(converted) == ([] if operation == 'drop' else [ours])
            if operation != 'drop':
                assert torch.equal(converted[ours], unfold_order(value) if operation.startswith('unfold') else value)

    @pytest.mark.parametrize('wrapped', [True, False])
    def test_any_size(self, wrapped: bool) -> None:
        source = {**filled(small_swin()), 'head.weight': torch.zeros(21841, 64), 'head.bias': torch.zeros(21841)}
        state_dict, _ = convert_swin(dict(model=source) if wrapped else source)
        network = MODELS.build(
            dict(type='mmpretrain.SwinTransformer', arch=dict(embed_dims=8, depths=[2] * 4, num_heads=[1, 2, 2, 4]),
                 img_size=64, window_size=2))
        own = {f'backbone.{name}': value.shape for name, value in network.state_dict().items()}
        assert {name: value.shape for name, value in state_dict.items()} == own

    def test_another_model(self) -> None:
        with pytest.raises(CheckpointError, match='not a Swin Transformer of the official implementation'):
            convert_swin(filled(resnet_layout(18)))

    def test_another_variant(self) -> None:
        source = {**filled(small_swin()), 'absolute_pos_embed': torch.zeros(1, 256, 8)}
        with pytest.raises(CheckpointError, match='1 differences.*\n.*unexpected: absolute_pos_embed'):
            convert_swin(source)


class TestResNet:

    @pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
    def test_every_depth(self, depth: int) -> None:
        state_dict, found = convert_resnet(filled(resnet_layout(depth)))
        assert found == dict(model=f'resnet{depth}')
        with Weightless():
            network = MODELS.build(dict(type='mmpretrain.ResNet', depth=depth))
        assert {name: value.shape for name, value in state_dict.items()} == {
            f'backbone.{name}': value.shape for name, value in network.state_dict().items()}

    def test_another_model(self) -> None:
        with pytest.raises(CheckpointError, match='not a ResNet with torchvision'):
            convert_resnet(filled(small_swin()))


class TestFiles:

    def save(self, path: Path, layout: dict) -> Path:
        torch.save(filled(layout), path)
        return path

    def test_written_file(self, tmp_path: Path) -> None:
        source = self.save(tmp_path / 'resnet18.pth', resnet_layout(18))
        meta = convert_file(convert_resnet, source, tmp_path / 'made' / 'ours.pth')
        written = torch.load(tmp_path / 'made' / 'ours.pth', weights_only=True)
        assert written['meta'] == meta == dict(source='resnet18.pth', model='resnet18')
        assert written['state_dict']['backbone.conv1.weight'].shape == (64, 3, 7, 7)
        assert [path.name for path in (tmp_path / 'made').iterdir()] == ['ours.pth']

    def test_errors_name_the_file_and_write_nothing(self, tmp_path: Path) -> None:
        source = self.save(tmp_path / 'swin.pth', small_swin())
        with pytest.raises(CheckpointError, match='swin.pth" was not converted. It is not a ResNet'):
            convert_file(convert_resnet, source, tmp_path / 'ours.pth')
        (tmp_path / 'text.pth').write_text('not weights')
        with pytest.raises(CheckpointError, match='text.pth'):
            convert_file(convert_resnet, tmp_path / 'text.pth', tmp_path / 'ours.pth')
        with pytest.raises(FileNotFoundError, match='nowhere.pth'):
            convert_file(convert_resnet, tmp_path / 'nowhere.pth', tmp_path / 'ours.pth')
        assert not (tmp_path / 'ours.pth').exists()

    def test_command_line(self, tmp_path: Path) -> None:
        source = self.save(tmp_path / 'swin.pth', small_swin())
        environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
        done = processes.run('tools/model_converters/swin2mmfss.py', source, tmp_path / 'ours.pth', cwd=ROOT,
                             env=environment)
        assert (done.returncode, done.stderr) == (0, '')
        assert 'ours.pth: source swin.pth, model Swin Transformer' in done.stdout
        assert (tmp_path / 'ours.pth').is_file()

    @pytest.mark.parametrize(('target', 'code', 'message'), [
        ('ours.pth', 1, 'swin.pth" was not converted. It is not an official DCAMA model'),
        ('swin.pth', 2, 'DST must be another file than SRC and not a folder'),
        ('', 2, 'DST must be another file than SRC and not a folder'),
    ])
    def test_command_line_errors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
                                 target: str, code: int, message: str) -> None:
        source = self.save(tmp_path / 'swin.pth', small_swin())
        monkeypatch.setattr(sys, 'argv', ['dcama2mmfss.py', str(source), str(tmp_path / target)])
        with pytest.raises(SystemExit) as exit_:
            main('dcama', 'Convert.')
        assert exit_.value.code == code and message in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ['swin.pth']

    def test_a_file_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture) -> None:
        source = self.save(tmp_path / 'swin.pth', small_swin())
        monkeypatch.setattr(sys, 'argv', ['swin2mmfss.py', str(source), str(source / 'ours.pth')])
        with pytest.raises(SystemExit) as exit_:
            main('swin', 'Convert.')
        assert exit_.value.code == 1 and 'swin.pth' in capsys.readouterr().err


class TestOnLoading:
    """Files of official implementations are tested without a conversion beforehand."""

    @pytest.mark.parametrize('layout, prefix, parts', [
        (dcama_layout, 'module.', dict(head=dict(type='DCAMAHead'))),
        (hsnet_layout, '', dict(head=dict(type='HSNetHead'), features=dict(num_levels=3))),
        (dmtnet_layout, '', dict(head=dict(type='DMTNetHead'), features=dict(num_levels=3))),
    ])
    def test_guard_renames(self, layout: Callable, prefix: str, parts: dict) -> None:
        with Weightless():
            model = MODELS.build(dict(type='FewShotSegmentor', backbone=BACKBONES['resnet50'], **parts))
        checkpoint = filled(layout('resnet50'), prefix)
        CheckpointGuardHook('best_model.pt').after_load_checkpoint(SimpleNamespace(model=model), checkpoint)
        assert list(checkpoint) == ['state_dict']
        assert {name.split('.')[0] for name in checkpoint['state_dict']} == {'backbone', 'head'}

    def test_own_checkpoints_stay(self) -> None:
        assert published_model(dict(state_dict={'backbone.conv1.weight': torch.ones(1)}, meta={})) is None

    def test_differences(self) -> None:
        source = filled(hsnet_layout('resnet50'))
        source['hpn_learner.extra'] = torch.ones(1)
        with pytest.raises(CheckpointError, match='unexpected: hpn_learner.extra'):
            published_model(source)

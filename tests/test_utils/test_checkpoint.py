import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmfss.models.pretrained import check_pretrained
from mmfss.registry import MODELS
from mmfss.utils.checkpoint import (
    CheckpointError,
    check_state_dict,
    computed_buffers,
    load_from_local,
    load_model_checkpoint,
)
from tests.tiny.seg import build_tiny_segmentor


class _Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple:
        return self.call


def _history() -> HistoryBuffer:
    history = HistoryBuffer()
    history.update(1.5)
    return history


class TestSafeLoading:

    def test_is_the_loader_of_mmengine(self, tmp_path: Path) -> None:
        assert CheckpointLoader._get_checkpoint_loader(str(tmp_path)) is load_from_local

    def test_training_state_is_read(self, tmp_path: Path) -> None:
        content = dict(
            state_dict=dict(weight=torch.ones(2)),
            message_hub=dict(loss=_history(), score=np.float32(0.25), flags=np.array([True]), ids=np.arange(3)))
        torch.save(content, tmp_path / 'a.pth')
        hub = load_from_local(tmp_path / 'a.pth')['message_hub']
        assert hub['loss'].mean() == 1.5
        assert hub['score'] == 0.25 and hub['flags'].tolist() == [True] and hub['ids'].tolist() == [0, 1, 2]

    def test_names_of_numpy_1(self, tmp_path: Path) -> None:
        torch.save(dict(weights=torch.ones(1), score=np.float64(2), ids=np.arange(2)), tmp_path / 'new.pth',
                   _use_new_zipfile_serialization=False)
        old = (tmp_path / 'new.pth').read_bytes().replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
        assert b'numpy.core.multiarray' in old
        (tmp_path / 'old.pth').write_bytes(old)
        assert load_from_local(tmp_path / 'old.pth')['ids'].tolist() == [0, 1]

    @pytest.mark.parametrize('call', [
        _Call(os.system, 'touch {marker}'),
        _Call(getattr, os, 'system'),
        _Call(getattr, HistoryBuffer, '__init__'),
        _Call(eval, '1'),
    ])
    def test_code_is_refused(self, tmp_path: Path, call: _Call) -> None:
        marker = tmp_path / 'marker'
        call.call = call.call[0], tuple(
            arg.format(marker=marker) if isinstance(arg, str) else arg for arg in call.call[1])
        if call.call[1][0] is os:
            call.call = getattr, (_Call(__import__, 'os'), 'system')
        torch.save(dict(state_dict=dict(w=torch.ones(1)), meta=call), tmp_path / 'bad.pth')
        with pytest.raises(CheckpointError, match=r'bad.pth" asks for .* was not loaded.*MMFSS_UNSAFE_LOAD'):
            load_from_local(tmp_path / 'bad.pth')
        assert not marker.exists()

    def test_opt_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.save(dict(state_dict=dict(w=torch.ones(1)), meta=Path('of/another/time')), tmp_path / 'old.pth')
        with pytest.raises(CheckpointError, match='pathlib'):
            load_from_local(tmp_path / 'old.pth')
        monkeypatch.setenv('MMFSS_UNSAFE_LOAD', '1')
        assert load_from_local(tmp_path / 'old.pth')['meta'] == Path('of/another/time')


class TestNotACheckpoint:

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r'"nowhere/x.pth" does not exist'):
            load_from_local('nowhere/x.pth')
        with pytest.raises(FileNotFoundError, match='is a folder'):
            load_from_local(tmp_path)

    @pytest.mark.parametrize('content, found', [
        (b'', 'an empty file'),
        (b'<!DOCTYPE html><html>404', 'a web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid', 'a Git LFS pointer'),
        (b'\x89PNG\r\n\x1a\n0000', 'a PNG image'),
        (b'model = dict()\n', 'a text file that begins "model = dict'),
        (b'PK\x03\x04' + b'0' * 30, 'a zip archive'),
        (bytes(range(128, 160)), '32 bytes of another or a damaged format'),
    ])
    def test_other_files(self, tmp_path: Path, content: bytes, found: str) -> None:
        (tmp_path / 'x.pth').write_bytes(content)
        with pytest.raises(CheckpointError, match=f'x.pth" is not a checkpoint: it is {found}'):
            load_from_local(tmp_path / 'x.pth')

    def test_cut_short(self, tmp_path: Path) -> None:
        torch.save(dict(w=torch.ones(1000)), tmp_path / 'x.pth')
        data = (tmp_path / 'x.pth').read_bytes()
        (tmp_path / 'x.pth').write_bytes(data[:len(data) // 2])
        with pytest.raises(CheckpointError, match='cut short'):
            load_from_local(tmp_path / 'x.pth')

    @pytest.mark.parametrize('content, found', [
        ([torch.ones(1)], 'it holds a list'),
        (dict(epoch=3, name='x'), r'dict without weights \(keys: epoch, name\)'),
    ])
    def test_other_content(self, tmp_path: Path, content: Any, found: str) -> None:
        torch.save(content, tmp_path / 'x.pth')
        with pytest.raises(CheckpointError, match=found):
            load_from_local(tmp_path / 'x.pth')

    def test_plain_pickle_of_another_program(self, tmp_path: Path) -> None:
        (tmp_path / 'x.pth').write_bytes(pickle.dumps({'a': 1}))
        with pytest.raises(CheckpointError, match='x.pth'):
            load_from_local(tmp_path / 'x.pth')


class TestOtherModel:

    def _model(self, width: int = 3) -> nn.Module:
        return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))

    def test_lists_what_differs(self) -> None:
        other = {f'layer{i}.weight': torch.ones(1) for i in range(7)}
        other['0.weight'] = torch.ones(9, 9)
        with pytest.raises(CheckpointError) as error:
            check_state_dict(self._model(), other, 'other.pth')
        message = str(error.value)
        assert 'The checkpoint "other.pth" is not one of this model (Sequential' in message
        assert '5 missing in the file: 0.bias, 1.weight, 1.bias, 1.running_mean, 1.running_var' in message
        assert '7 not in the model: layer0.weight, ' in message and 'layer4.weight, ...' in message
        assert '1 of another shape: 0.weight: (9, 9) in the file, (3, 2) in the model' in message

    def test_own_checkpoint_loads(self, tmp_path: Path) -> None:
        source, target = self._model(), self._model()
        state = {f'module.{name}': value for name, value in source.state_dict().items() if 'num_batches' not in name}
        torch.save(dict(state_dict=state, meta=dict(iter=3)), tmp_path / 'x.pth')
        assert load_model_checkpoint(target, tmp_path / 'x.pth')['meta'] == dict(iter=3)
        assert torch.equal(source[0].weight, target[0].weight)

    def test_not_strict_loads_what_fits(self, tmp_path: Path) -> None:
        target = self._model()
        torch.save({'0.bias': torch.full((3, ), 7.0), '0.weight': torch.ones(1), 'other': torch.ones(1)},
                   tmp_path / 'x.pth')
        with pytest.raises(CheckpointError, match='x.pth'):
            load_model_checkpoint(target, tmp_path / 'x.pth')
        load_model_checkpoint(target, tmp_path / 'x.pth', strict=False)
        assert target[0].bias.tolist() == [7, 7, 7]

    def test_mmengine_uses_the_safe_loader(self, tmp_path: Path) -> None:
        torch.save(dict(state_dict=self._model().state_dict(), hub=_history()), tmp_path / 'x.pth')
        assert 'hub' in load_checkpoint(self._model(), str(tmp_path / 'x.pth'))


SWIN = dict(type='mmpretrain.SwinTransformer', img_size=64, window_size=2, out_indices=(0, 1),
            arch=dict(embed_dims=4, depths=[2, 2], num_heads=[1, 2]))
BEIT = dict(type='mmpretrain.BEiTViT', img_size=32, patch_size=16,
            arch=dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8))


class Fixed(nn.Module):
    """Buffers of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer('window_order', torch.tensor([1, 0, 2]))
        self.register_buffer('attn_mask', torch.zeros(2, 2))
        self.register_buffer('scratch', torch.zeros(2), persistent=False)
        self.register_buffer('class_prototypes', torch.randn(2, 3))
        self.register_buffer('seen', torch.zeros(4, dtype=torch.int64))
        self.register_buffer('steps', torch.tensor(3))


class TestComputedBuffers:

    def test_which(self) -> None:
        assert computed_buffers(Fixed()) == {'norm.num_batches_tracked', 'window_order', 'attn_mask', 'scratch'}

    def test_learned_prototypes_are_not(self) -> None:
        assert not [name for name in computed_buffers(build_tiny_segmentor()) if '.proto_class' in name]

    @pytest.mark.parametrize('cfg', [SWIN, BEIT], ids=['swin', 'beit'])
    def test_may_be_absent(self, cfg: dict, tmp_path: Path) -> None:
        source, target = MODELS.build(cfg), MODELS.build(cfg)
        state = {name: value for name, value in source.state_dict().items() if name not in computed_buffers(source)}
        assert len(state) < len(source.state_dict())
        torch.save(dict(state_dict=state), tmp_path / 'x.pth')
        load_model_checkpoint(target, tmp_path / 'x.pth')
        assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())
        check_pretrained(MODELS.build(dict(cfg, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'x.pth')))))

    @pytest.mark.parametrize('name', ['norm.running_mean', 'class_prototypes', 'seen', 'steps', 'layer.weight'])
    def test_what_training_changes_may_not(self, name: str) -> None:
        state = Fixed().state_dict()
        state.pop(name)
        with pytest.raises(CheckpointError, match=f'1 missing in the file: {name}'):
            check_state_dict(Fixed(), state, 'x.pth')

    def test_table_of_another_size(self) -> None:
        """A table that is there belongs to the weights that are there."""
        state = dict(Fixed().state_dict(), window_order=torch.arange(4))
        with pytest.raises(CheckpointError, match=r'window_order: \(4,\) in the file, \(3,\) in the model'):
            check_state_dict(Fixed(), state, 'x.pth')

    def test_entries_that_the_model_does_not_save(self) -> None:
        check_state_dict(Fixed(), dict(Fixed().state_dict(), scratch=torch.zeros(2)), 'x.pth')

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config

from mmfss.models import DCAMAHead
from tests.references.dcama import HEAD_CHANNELS, head_inputs
from tests.tiny.data import PIPELINE
from tests.tiny.model import TINY_MODEL
from tests.tiny.tools import TOOLS, load_tool


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return load_tool('benchmark')


def run(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str) -> dict:
    threads = torch.get_num_threads()
    common = ['--device', 'cpu', '--threads', '1', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments, *common])
    try:
        tool.main()
    finally:
        torch.set_num_threads(threads)
    return json.loads(out.read_text())


class TestExplicitDCAMA:
    """The measure and what is measured compute the same."""

    @pytest.mark.parametrize('batch, shots', [(1, 1), (2, 3)])
    def test_equals_the_head(self, batch: int, shots: int) -> None:
        torch.manual_seed(0)
        head = DCAMAHead(HEAD_CHANNELS)
        # Attention that is not flat, and two projections that differ.
        for block in head.attention:
            for projection in (block.query, block.key):
                torch.nn.init.normal_(projection.weight, std=0.5)
        explicit = load_tool('explicit_dcama').ExplicitDCAMA(head).eval()
        query, support, masks = head_inputs(batch, shots)
        with torch.no_grad():
            encoding = head.encode_support(support, masks)
            coarse = [head.aggregate(affinity, encoding) for affinity in head.match(query, encoding)]
            expected = explicit.coarse_masks(query, support, masks)
            assert len(coarse) == len(expected) == sum(map(len, HEAD_CHANNELS[1:]))
            for ours, theirs in zip(coarse, expected):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
            logits = explicit(query, support, masks)
            torch.testing.assert_close(head(query, encoding), logits, rtol=0, atol=1e-4)
        assert min(mask.std() for mask in expected) > 0.02 and logits.std() > 1e-3

    def test_keeps_the_attention_of_each_level_if_told(self) -> None:
        head = DCAMAHead(HEAD_CHANNELS)
        module = load_tool('explicit_dcama')
        inputs = head_inputs(1, 2)
        for keep, levels in ((True, {1, 2, 3}), (False, set())):
            explicit = module.ExplicitDCAMA(head, keep_attention=keep).eval()
            explicit(*inputs)
            assert set(explicit.attention) == levels
        assert module.ExplicitDCAMA(head).state_dict().keys() >= {f'head.{name}' for name in head.state_dict()}


class TestCommand:

    def test_measures_heads_and_support_reuse(
            self, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
            capsys: pytest.CaptureFixture) -> None:
        results = run(tool, monkeypatch, tmp_path / 'out.json', '--backbones', 'resnet18', '--shots', '2', '--size',
                      '64', '--parts', 'attention', 'support', '--repeat-times', '2', '--queries', '3')
        attention, support, in_all = results['comparisons']
        assert [row['part'] for row in results['comparisons']] == ['attention', 'support', 'support*']
        assert attention['shots'] == 2 and attention['backbone'] == 'resnet18'
        assert len(attention['seconds']['reference']) == len(attention['seconds']['measured']) == 2
        assert attention['time_ratio']['low'] <= attention['time_ratio']['median'] <= attention['time_ratio']['high']
        assert min(attention['extra_bytes'].values()) >= 0
        assert len(support['seconds']['measured']) == 3
        # All queries and the one encoding.
        assert in_all['seconds']['measured'][0] > sum(support['seconds']['measured'])
        assert 'support*' in capsys.readouterr().out

    def test_measures_training(
            self, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
            capsys: pytest.CaptureFixture) -> None:
        monkeypatch.setitem(tool.BACKBONES, 'tiny', dict(model=TINY_MODEL.backbone.to_dict()))
        monkeypatch.setattr(tool, 'compare_heads', lambda part, setting, repeats: dict(
            part=part, backbone=setting.backbone, shots=1, seconds=dict(reference=[1.], measured=[1.]),
            time_ratio=dict(median=1., low=1., high=1.)))
        results = run(tool, monkeypatch, tmp_path / 'out.json', '--backbones', 'tiny', '--size', '64', '--parts',
                      'training', '--repeat-times', '1', '--batch-size', '2')
        assert [row['precision'] for row in results['training']] == ['fp32', 'bf16']
        for row in results['training']:
            assert row['batch_size'] == 2 and row['episodes_per_second'].keys() == {'step', 'backbone'}
        assert 'episodes/s' in capsys.readouterr().out

    def test_measures_the_model_of_a_config(
            self, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = Config(dict(
            default_scope='mmfss', model=TINY_MODEL,
            test_dataloader=dict(dataset=dict(type='ImageFolderDataset', data_root='unused', pipeline=PIPELINE))))
        config.dump(tmp_path / 'tiny.py')
        results = run(tool, monkeypatch, tmp_path / 'out.json', str(tmp_path / 'tiny.py'), '--shots', '1', '2',
                      '--repeat-times', '2', '--num-episodes', '1')
        assert results['comparisons'] == results['training'] == []
        assert [row['shots'] for row in results['models']] == [1, 2]
        for row in results['models']:
            assert len(row['frames_per_second']) == 2 and row['mean'] > 0 and row['variance'] >= 0

    @pytest.mark.parametrize('arguments, message', [
        (['--size', '100'], 'multiple of 32'),
        (['--repeat-times', '0'], '--repeat-times'),
        (['--shots', '0'], '--shots'),
    ])
    def test_wrong_arguments(self, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture, arguments: list[str], message: str) -> None:
        with pytest.raises(SystemExit):
            run(tool, monkeypatch, tmp_path / 'out.json', *arguments)
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize('arguments, message', [(['--device', 'cuda'], 'PyTorch finds no GPU'),
                                                    (['--device', 'cpu', '--out', '.'], '"." is a folder')])
    def test_what_is_not_there(self, tool: ModuleType, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture, arguments: list[str], message: str) -> None:
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
        monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments])
        with pytest.raises(SystemExit):
            tool.parse_args()
        assert message in capsys.readouterr().err

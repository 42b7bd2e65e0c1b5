"""The literal HSNet and DMTNet compute what the heads compute, and the benchmark measures both."""
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from mmfss.models import FewShotSegmentor
from mmfss.models.layers import SHOT_RULES
from mmfss.models.layers.shot_combination import vote
from mmfss.registry import MODELS
from tests.references.seeded import seeded_image
from tests.tiny.tools import TOOLS, load_tool


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return load_tool(name)


@torch.no_grad()
@pytest.mark.parametrize('size', [(136, 136), (128, 176)])
def test_literal_dmtnet(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model: FewShotSegmentor = MODELS.build(dict(
        type='FewShotSegmentor', backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8),
        features=dict(num_levels=3), head=dict(type='DMTNetHead'))).eval()
    torch.nn.init.normal_(model.head.learner.decoder2[2].weight, std=0.5)
    query = torch.from_numpy(seeded_image('query', (2, 3, *size)))
    support = torch.from_numpy(seeded_image('support', (2, 3, *size)))
    mask = torch.from_numpy(seeded_image('mask', (2, *size)) > 0).float()
    literal = load('explicit_correlations', monkeypatch).ExplicitDMTNet(model)
    foreground, background = literal(query, support, mask)
    torch.testing.assert_close(model.logits(query, support[:, None, None], mask[:, None, None]), foreground, rtol=0,
                               atol=1e-4)
    pyramid, encoding = model.encode(query, support[:, None, None], mask[:, None, None])
    both = model.head.logits_of_sides(pyramid, encoding.ways[0], 2)[:, 0]
    torch.testing.assert_close(model.head.combine_shots(both[:, 1:], size), background, rtol=0, atol=1e-4)
    assert foreground.std() > 0.01


def test_measures_whole_predictions(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    tool, threads = load('benchmark', monkeypatch), torch.get_num_threads()
    out = tmp_path / 'out.json'
    monkeypatch.setattr(sys, 'argv', [
        'benchmark.py', '--parts', 'hsnet', 'dmtnet', '--backbones', 'resnet18', '--shots', '2', '--size', '130',
        '--repeat-times', '1', '--device', 'cpu', '--threads', '1', '--out', str(out)])
    monkeypatch.setattr(tool, 'peak_extra_memory', lambda prepared, part, name, setting, device: 1)
    try:
        tool.main()
    finally:
        torch.set_num_threads(threads)
    rows = json.loads(out.read_text())['comparisons']
    assert [(row['part'], row['shots']) for row in rows] == [('hsnet', 2), ('dmtnet', 2), ('dmtnet*', 2)]
    assert all(row['seconds']['reference'][0] > 0 for row in rows)
    assert 'dmtnet*' in capsys.readouterr().out


@torch.no_grad()
def test_what_is_compared_is_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = load('correlation_cases', monkeypatch)
    setting = cases.Setting('resnet18', 3, 128)
    shots = []

    def recording_vote(logits: Tensor) -> Tensor:
        shots.append(logits)
        return vote(logits)

    monkeypatch.setitem(SHOT_RULES, 'vote', recording_vote)
    computations = cases.hsnet(setting)
    explicit, streamed = computations['explicit'](), computations['streamed']()
    torch.testing.assert_close(*shots, atol=1e-4, rtol=0)
    # The vote gives the logits of one shot. Where two shots are equally sure, rounding picks the one, and what is the
    # same is how sure they are; all shots are clearly for some pixels, so the needed votes are no matter of rounding.
    assert shots[0].diff(dim=2).amin(1).max() > 1e-3
    torch.testing.assert_close(explicit.diff(dim=1), streamed.diff(dim=1), atol=2e-4, rtol=0)
    computed = cases.prepared_correlation('dmtnet', 'both', setting)()
    assert computed.shape == (1, 3, 2, 2, 32, 32)

"""The parts of the benchmark about AffEx: the measure and what is measured compute the same."""
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.test_tools.test_benchmark import run
from tests.tiny.tools import TOOLS, load_tool


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return load_tool('benchmark')


def setting(tool: ModuleType, **kwargs) -> object:
    return tool.Setting(**{'backbone': 'resnet18', 'shots': 2, 'size': 96, **kwargs})


@pytest.mark.parametrize(('part', 'tolerance'), [('affex', 1e-5), ('ablation', 2e-4)])
def test_both_ways_give_the_same(tool: ModuleType, part: str, tolerance: float) -> None:
    computations = tool.AFFEX_PARTS[part](setting(tool))
    explicit, streamed = computations['explicit'](), computations['streamed']()
    assert explicit.shape == streamed.shape == ((1, 2, 96, 96) if part == 'affex' else (6, ))
    assert explicit.std() > 0
    torch.testing.assert_close(streamed, explicit, rtol=0, atol=tolerance * explicit.abs().max().item())


def test_the_region_is_an_eighth(tool: ModuleType) -> None:
    import affex_cases
    assert affex_cases.disc(setting(tool, size=384)).float().mean() == pytest.approx(1 / 8, abs=2e-3)


def test_command(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                 capsys: pytest.CaptureFixture) -> None:
    results = run(tool, monkeypatch, tmp_path / 'out.json', '--backbones', 'resnet18', '--shots', '1', '--size', '64',
                  '--parts', 'affex', 'affex_cost', '--repeat-times', '1')
    rows = {row['part']: row for row in results['comparisons']}
    assert list(rows) == ['affex', 'cost', 'cost/2', 'cost*4', 'floor', 'floor*']
    assert min(rows['affex']['extra_bytes'].values()) >= 0
    # An explanation includes a forward pass.
    assert rows['cost']['time_ratio']['median'] > 0
    assert 'a whole explanation by AffEx' in capsys.readouterr().out

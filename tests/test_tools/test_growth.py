"""Growth of time and memory, as benchmark.py --parts growth measures it."""
from types import ModuleType
from typing import Callable

import pytest

from tests.tiny.tools import TOOLS, load_tool


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return load_tool('growth_cases')


@pytest.mark.parametrize('power', [0, 1, 2])
def test_slope(tool: ModuleType, power: int) -> None:
    assert tool.slope([1, 2, 5, 20], [3. * value**power for value in (1, 2, 5, 20)]) == pytest.approx(power, abs=1e-9)


def test_every_work_along_its_axes(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh process for each measurement of memory would take a minute."""
    monkeypatch.setattr(tool, 'peak_extra_memories', lambda prepare, arguments, device: [
        1000 * options['shots'] for _, options in arguments])

    def timed(computation: Callable, device: str, clock: Callable) -> float:
        computation()
        return 0.5

    monkeypatch.setattr(tool, 'timed', timed)
    axes = dict(shots=(1, 2), side=(64, 96), classes=(5, 10), episodes=(10, 20))
    rows = tool.growth_rows('cpu', 1, axes)
    assert [(row['work'], row['axis']) for row in rows] == [
        ('prediction', 'shots'), ('prediction', 'side'), ('explanation', 'shots'), ('explanation', 'side'),
        ('training', 'shots'), ('training', 'side'), ('sampling', 'classes'), ('evaluation', 'classes'),
        ('evaluation', 'episodes')]
    assert rows[0]['memory_slope'] == pytest.approx(1) and rows[1]['time_slope'] == pytest.approx(0)
    assert '64², 96²' in str(tool.growth_table(rows)) and 'pixels' in str(tool.growth_table(rows))

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mmfss.registry import register_all_modules

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    register_all_modules(init_default_scope=True)
    monkeypatch.syspath_prepend(str(TOOLS))
    for name in ('benchmark_cases', 'causal_cases', 'explicit_dcama'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module('causal_cases')


@pytest.mark.parametrize('shots', [1, 3])
def test_what_is_compared_computes_the_same(cases: ModuleType, shots: int) -> None:
    computations = cases.causal(cases.Setting('resnet18', shots, 64))
    explicit, whole, shared, pair = (computations[name]() for name in ('explicit', 'whole', 'shared', 'pair'))
    assert explicit == pytest.approx(shared, abs=1e-4) and whole == pytest.approx(shared, abs=1e-5)
    assert pair == pytest.approx(shared, abs=1e-6) and 0 < shared < 1

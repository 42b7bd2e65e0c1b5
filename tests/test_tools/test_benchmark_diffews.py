"""The benchmark of DiffewS: both ways compute the same, and the supports are read as often as it says."""
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mmfss.registry import register_all_modules

pytest.importorskip('diffusers', reason='DiffewS needs diffusers')

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    register_all_modules(init_default_scope=True)
    spec = importlib.util.spec_from_file_location('diffews_cases', TOOLS / 'diffews_cases.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'diffews_cases', module)
    spec.loader.exec_module(module)
    # The same shape, narrower
    monkeypatch.setitem(module.UNET, 'block_out_channels', (8, 8, 16, 16))
    monkeypatch.setitem(module.UNET, 'norm_num_groups', 4)
    monkeypatch.setitem(module.VAE, 'block_out_channels', (4, 4, 8, 8))
    monkeypatch.setitem(module.VAE, 'norm_num_groups', 4)
    return module


@pytest.mark.parametrize('whole', [False, True])
def test_both_ways_compute_the_same(cases: ModuleType, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    model = cases.build_model()
    monkeypatch.setattr(cases, 'build_model', lambda: model)
    supports = []
    model.unet.conv_in_ref.register_forward_hook(lambda module, args, out: supports.append(len(out)))
    computations = cases.passes(cases.DiffewsSetting(8, queries=3, whole=whole))
    results = {}
    for name, count in (('anew', 3), ('once', 1)):
        supports.clear()
        results[name] = computations[name]()
        assert supports == [cases.SHOTS] * count
    for pair in zip(*results.values(), strict=True):
        torch.testing.assert_close(*pair, rtol=0, atol=1e-5)


def test_rows(cases: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, 'peak_extra_memory', lambda prepare, *args, device: 2**20)
    rows = cases.diffews_rows(['diffews'], 1, 'cpu', 1, queries=2, sides=((8, False), (8, True)))
    assert [(row['part'], row['backbone'], row['shots']) for row in rows] == [
        ('diffews', '8 x 8', 5), ('diffews*', '8 x 8', 5)]
    assert all(row['time_ratio']['median'] > 0 and row['memory_ratio'] == 1 for row in rows)
    assert cases.diffews_rows(['head'], 1, 'cpu', 1) == []

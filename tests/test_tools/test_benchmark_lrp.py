"""The literal unrolled LRP computes what the package computes, and the benchmark measures both."""
import importlib.util
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location('lrp_cases', TOOLS / 'lrp_cases.py')
    cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)
    monkeypatch.setattr(cases, 'CLASSES', 3)
    computations = cases.maps(2, 64, 'cpu', depth=18)
    found, expected = computations['measured'](), computations['literal']()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * float(expected.std()))
    monkeypatch.setattr(cases, 'peak_extra_memory', lambda *args, device: 1)
    rows = cases.lrp_rows(['lrp'], 1, 'cpu', 1, size=32, depth=18)
    assert [row['part'] for row in rows] == ['lrp', 'lrp_cost'] * 2
    assert all(row['time_ratio']['median'] > 0 for row in rows) and rows[0]['memory_ratio'] == 1
    assert cases.lrp_rows(['head'], 1, 'cpu', 1) == []

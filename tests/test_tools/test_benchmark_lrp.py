"""The literal unrolled LRP computes what the package computes, and the benchmark measures both."""

import pytest
import torch

from tests.tiny.tools import load_tool


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = load_tool('lrp_cases')
    monkeypatch.setattr(cases, 'CLASSES', 3)
    computations = cases.maps(2, 64, 'cpu', depth=18)
    found, expected = computations['measured'](), computations['literal']()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * float(expected.std()))
    monkeypatch.setattr(cases, 'peak_extra_memory', lambda *args, device: 1)
    rows = cases.lrp_rows(['lrp'], 1, 'cpu', 1, size=32, depth=18)
    assert [row['part'] for row in rows] == ['lrp', 'lrp_cost'] * 2
    assert all(row['time_ratio']['median'] > 0 for row in rows) and rows[0]['memory_ratio'] == 1
    assert cases.lrp_rows(['head'], 1, 'cpu', 1) == []

"""The check for a GPU: its table, its budget, its rehearsal on a CPU."""
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.tiny.tools import TOOLS, load_tool


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return load_tool('gpu_check')


def figures(seconds: float, gib: float | None) -> dict:
    return dict(seconds=seconds, gib=gib, episodes_per_second=48 / seconds)


def test_table(tool: ModuleType) -> None:
    title = dict(work='training step', sizes='swinb, batch 48')
    table = tool.markdown_table([
        dict(title, precision='fp32', reference=figures(0.68, 42.61), ours=figures(0.6364, 14.1),
             backbone=figures(0.138, 1.)),
        dict(title, precision='compiled', ours=figures(0.2, 9.)),
        dict(title, precision='bf16', ours=figures(0.25, None), backbone=figures(0.1, None)),
        dict(title, precision='tf32', note='not measured: the time was over'),
    ])
    head, rule, *rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines()]
    assert all(len(row) == len(head) == len(rule) for row in rows)
    assert rows[0] == ['training step', 'swinb, batch 48', 'fp32', '680', '636', '1.07', '75.4', '138', '14.10 (42.61)']
    assert rows[1][3:] == ['', '200', '', '240', '', '9.00']
    assert rows[2][3:] == ['', '250', '', '192', '100', '']
    assert rows[3][4] == 'not measured: the time was over'


def test_faults_and_time_are_noted_row_by_row(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> dict:
        raise RuntimeError('CUDA out of memory\nmore')

    title, written = dict(work='a', sizes='b', precision='c'), []
    monkeypatch.setattr(tool, 'plan', lambda args: [(title, fail), (title, lambda: dict(title, ours=figures(1, None)))])
    args = tool.parse_args(['--rehearse'])
    rows = tool.measure(args, lambda rows: written.append(len(rows)))
    assert rows[0]['note'] == 'not measured: RuntimeError: CUDA out of memory' and 'ours' in rows[1]
    assert written == [1, 2]
    args.minutes = -1
    assert all(row['note'].endswith('time was over') for row in tool.measure(args, written.append))


@pytest.mark.skipif(torch.cuda.is_available(), reason='is about machines without a GPU')
def test_without_a_gpu_it_says_so(tool: ModuleType, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        tool.parse_args([])
    assert '--rehearse runs the same' in capsys.readouterr().err


def test_rehearsal(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of every kind: half precision and compiling take their time on a CPU."""
    whole = tool.plan
    monkeypatch.setattr(tool, 'plan', lambda args: (
        (title, make) for title, make in whole(args)
        if title['precision'] == 'fp32' and 'batch 2' not in title['sizes']))
    monkeypatch.setattr(sys, 'argv', ['gpu_check.py', '--rehearse', '--out', str(tmp_path / 'check.json')])
    tool.main()
    found = json.loads((tmp_path / 'check.json').read_text())
    assert found['rehearsal'] and len(found['rows']) == 4
    assert not [row['note'] for row in found['rows'] if 'note' in row]
    assert all(row['ours']['seconds'] > 0 and row['reference']['seconds'] > 0 for row in found['rows'])
    assert (tmp_path / 'check.md').read_text().startswith('CPU (a rehearsal')

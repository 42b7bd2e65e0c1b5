"""The comparison of models on few masks: one training each, none twice, and a table of mean and spread."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny.tools import load_tool


def test_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    tool = load_tool('compare_few_masks')
    commands = []

    def run(command: list[str], check: bool) -> None:
        commands.append(command)
        folder = Path(command[command.index('--work-dir') + 1]) / 'config'
        folder.mkdir(parents=True)
        seed = int(command[command.index('--seed') + 1])
        phases = [dict(metrics=dict(F1=40.)), dict(metrics=dict(mIoU=30. + 2 * seed, F1=50.))]
        (folder / 'train_summary.json').write_text(json.dumps(dict(phases=phases)))

    monkeypatch.setattr(subprocess, 'run', run)
    monkeypatch.setattr(sys, 'argv', [
        'compare_few_masks.py', '--configs', 'unrolled_lrp/resnet18_shapes', '--shares', '0.05', '1',
        '--seeds', '0', '1', '--out', str(tmp_path)])
    tool.main()
    assert len(commands) == 4 and 'train_dataloader.dataset.mask_share=0.05' in commands[0]
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('|') and ' 5 %' in line)
    assert '31.0 ± 1.0' in row and '40.0 ± 0.0' in row and '50.0 ± 0.0' in row
    tool.main()
    assert len(commands) == 4

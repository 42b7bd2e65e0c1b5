"""timm that a program has imported itself is what MMSegmentation's backbone uses."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=200, cwd=ROOT,
                          env={'PATH': '', 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)})  # yapf: disable
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_timm_that_was_imported_before_stays() -> None:
    pytest.importorskip('timm', reason='timm is not installed (extra "dinov3")')
    run('import timm, mmfss.models, mmseg.models.backbones.timm_backbone as user\n'
        'assert user.timm is timm\n')

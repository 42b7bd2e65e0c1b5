"""What the episode browser says of wrong arguments, run in this process."""
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_explanation.explaining import write_run

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'browse_episodes.py'


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--split', 'train'), 'has no train_dataloader'),
    (('--start', 9999), '--start an index from 0 to '),
    (('--num', 0), '--num must be 1 or more'),
    (('--cfg-options', 'test_dataloader.dataset.data_roto=x'), 'Did you mean test_dataloader.dataset.data_root'),
    (('--output-dir', __file__), 'Choose another with --out')])
def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, arguments: tuple[Any],
                message: str) -> None:
    config = write_run(tmp_path)
    monkeypatch.setattr(sys, 'argv', list(map(str, (TOOL, config, '--output-dir', tmp_path / 'out', *arguments))))
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert error.value.code == 1 and message in capsys.readouterr().err

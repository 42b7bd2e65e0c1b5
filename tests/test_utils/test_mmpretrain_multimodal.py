"""Environments with other packages: a ``transformers`` in which MMPretrain's multimodal models cannot be defined."""
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INFO = 'Metadata-Version: 2.1\nName: transformers\nVersion: {}\n'
# As in transformers 5: the names that MMPretrain imports are there, and base classes are None.
NEW = """
import sys, types
__version__ = '5.0.0'
def __getattr__(name):
    if name.startswith('__'):
        raise AttributeError(name)
    return None
class Anything(types.ModuleType):
    __path__ = []
    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return None
for name in ('activations', 'modeling_outputs', 'modeling_utils', 'models', 'models.bert', 'utils',
             'models.bert.configuration_bert', 'models.opt', 'models.opt.configuration_opt', 'models.auto',
             'models.auto.auto_factory'):
    sys.modules[f'transformers.{name}'] = Anything(f'transformers.{name}')
"""


@pytest.fixture(scope='module')
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to put on the path, with such a package and its metadata."""
    root = tmp_path_factory.mktemp('packages')
    (root / 'transformers').mkdir()
    (root / 'transformers/__init__.py').write_text(NEW)
    (root / 'transformers-5.0.0.dist-info').mkdir()
    (root / 'transformers-5.0.0.dist-info/METADATA').write_text(INFO.format('5.0.0'))
    return root


def run(packages: Path, code: str, multimodal: str = '') -> subprocess.CompletedProcess:
    code = f'import sys; sys.path[:0] = [{str(packages)!r}, {str(ROOT)!r}]\n{code}'
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300, cwd=ROOT,
                          env={'PATH': '', 'OMP_NUM_THREADS': '1', 'MMFSS_MULTIMODAL': multimodal})


def test_imports_beside_new_transformers(packages: Path) -> None:
    """The environment is one that breaks MMPretrain; mmfss imports, also after a first import of mmpretrain itself."""
    code = ('import importlib.metadata\n'
            'import mmpretrain.utils.dependency as dependency\n'
            'assert dependency.WITH_MULTIMODAL, importlib.metadata.version("transformers")\n'
            'import mmfss\n'
            'import mmpretrain.datasets\n'
            'from mmpretrain.registry import MODELS\n'
            'assert not dependency.WITH_MULTIMODAL\n'
            'assert not any(name.startswith("mmpretrain.models.multimodal.") for name in sys.modules)\n'
            'from mmfss.registry import MODELS as ours\n'
            'ours.build(dict(type="mmpretrain.ResNet", depth=18))\n'
            'try: MODELS.build(dict(type="BlipCaption"))\n'
            'except ImportError as error: print("placeholder:", error)\n')
    result = run(packages, code)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'placeholder:' in result.stdout and 'multi-modal' in result.stdout


def test_asked_for_where_it_cannot_be_imported(packages: Path) -> None:
    result = run(packages, 'import mmfss.models', multimodal='1')
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith('ImportError: MMFSS_MULTIMODAL=1 asks for the multimodal models of MMPretrain')
    assert 'transformers 5.0.0' in last and 'unset MMFSS_MULTIMODAL' in last


class TestDecision:
    """Without importing anything: what the one function does in each state."""

    @pytest.fixture
    def dependency(self, monkeypatch: pytest.MonkeyPatch):
        importlib.import_module('mmfss')  # first: it leaves the multimodal models out
        importlib.import_module('mmpretrain.models')
        dependency = importlib.import_module('mmpretrain.utils.dependency')
        monkeypatch.delenv('MMFSS_MULTIMODAL', raising=False)
        monkeypatch.setattr(dependency, 'WITH_MULTIMODAL', True)
        return dependency

    def test_models_that_are_imported_are_left_alone(self, dependency) -> None:
        from mmfss.utils.mmpretrain_multimodal import skip_multimodal_models
        assert 'mmpretrain.models' in sys.modules and skip_multimodal_models() is False
        assert dependency.WITH_MULTIMODAL is True

    @pytest.mark.parametrize('value, skipped', [('', True), ('0', True), ('1', False)])
    def test_environment_variable(self, dependency, monkeypatch: pytest.MonkeyPatch, value: str, skipped: bool) -> None:
        from mmfss.utils import mmpretrain_multimodal
        monkeypatch.setenv('MMFSS_MULTIMODAL', value)
        monkeypatch.delitem(sys.modules, 'mmpretrain.models')
        assert mmpretrain_multimodal.skip_multimodal_models() is skipped
        assert dependency.WITH_MULTIMODAL is not skipped

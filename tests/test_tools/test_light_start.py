"""Nothing heavy is imported before it is used."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mmfss

ROOT = Path(__file__).parents[2]
# Benchmarks have the names of their parts from what they measure; tools for developers import first.
HEAVY_TOOLS = {'benchmark.py', 'gpu_check.py', 'make_scale_data.py', 'measure_data.py', 'zoo_table.py'}
TOOLS = [path.relative_to(ROOT).as_posix() for folder in ('tools', 'demo')
         for path in sorted((ROOT / folder).rglob('*.py'))
         if "__name__ == '__main__'" in path.read_text(encoding='utf-8') and path.name not in HEAVY_TOOLS]
HEAVY = ['captum', 'cv2', 'matplotlib', 'mmcv', 'mmengine', 'mmpretrain', 'mmseg', 'numpy', 'skimage', 'torch']


def run(code: str, **environment: str) -> str:
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=200,
                          env=dict(os.environ, PYTHONPATH=str(ROOT), **environment))
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


LIGHT = f'import sys; assert not {set(HEAVY)!r} & set(sys.modules)'


@pytest.mark.parametrize('tool', TOOLS)
def test_help(tool: str) -> None:
    code = ('import runpy, sys\n'
            f'sys.argv = [{tool!r}, "--help"]\n'
            f'try: runpy.run_path({tool!r}, run_name="__main__")\n'
            'except SystemExit as end: assert not end.code\n')
    assert 'usage: ' in run(code + LIGHT)


def test_a_wrong_option_is_answered_at_once() -> None:
    code = ('import runpy, sys\n'
            'sys.argv = ["train.py", "config.py", "--cfg-options", "novalue"]\n'
            'try: runpy.run_path("tools/train.py", run_name="__main__")\n'
            'except SystemExit as end: print(end.code)\n')
    assert run(code + LIGHT) == '2\n'


@pytest.mark.parametrize('arguments, status, said', [
    (['configs', 'list', 'dcama'], 0, ''),
    (['configs', 'show', 'dcama_resnet18_shapes_fold2'], 0, ''),
    (['train', 'dcama_resnet19_shapes_fold0'], 1, 'Did you mean dcama_resnet18_shapes_fold0'),
    (['test', 'broken.py'], 1, 'broken.py" cannot be read: SyntaxError'),
    (['test', 'dcama_resnet18_shapes', 'none.pth'], 1, 'The checkpoint "none.pth" does not exist'),
    (['cross-validate', 'dcama_resnet18_shapes_fold{0..1}', 'dcama_resnet18_shape_fold0'], 1, 'Did you mean'),
    (['choose-threshold', 'dcama_resnet18_shape_fold{0..3}', '*.pth'], 1, 'Did you mean'),
    (['check-data', 'dcama_resnet18_shape_fold0'], 1, 'Did you mean'),
    (['predict', 'none.jpg', '--support-dir', 'none'], 1, 'The query "none.jpg" does not exist'),
    (['train', 'dcama_resnet18_shapes', '--cfg-options', 'train_cfg.max_iters=[(1]'], 2, 'the value cannot be read'),
])
def test_mistakes_are_told_before_pytorch_is_imported(
        tmp_path: Path, arguments: list[str], status: int, said: str) -> None:
    (tmp_path / 'broken.py').write_text('model = dict(')
    code = ('import sys\n'
            'from mmfss.commands.main import main\n'
            f'try: main({arguments!r})\n'
            'except SystemExit as end: status = end.code\n'
            'else: status = 0\n'
            'print("status", status, {"torch", "mmseg", "cv2"} & set(sys.modules))')
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=200,
                          env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert done.stdout.splitlines()[-1] == f'status {status} set()', done.stderr[-2000:]
    assert said in done.stderr and 'Traceback' not in done.stderr


def test_import_of_the_package() -> None:
    run('import mmfss; assert mmfss.__version__; ' + LIGHT)
    with pytest.raises(AttributeError, match="module 'mmfss' has no attribute 'nothing'"):
        mmfss.nothing  # noqa: B018


def test_registries_import_what_they_are_asked_for() -> None:
    """Types of this package, its parents' without prefix, siblings' by scope."""
    code = ('import sys, mmfss.registry as registry\n'
            'rooms = lambda: {name for name in sys.modules if name.startswith(("mmfss.", "mmseg.", "mmpretrain."))}\n'
            'assert not {"mmfss.models", "mmfss.datasets", "mmseg.models", "mmpretrain.models"} & rooms()\n'
            'assert registry.TRANSFORMS.get("PackSegInputs") and registry.TRANSFORMS.get("LoadClassMask")\n'
            'assert not {"mmfss.models", "mmfss.engine", "mmseg.models"} & rooms()\n'
            'assert registry.MODELS.get("FCNHead") and registry.MODELS.get("DCAMAHead")\n'
            'assert not {"mmfss.explainers", "mmfss.explanation"} & rooms()\n'
            'assert registry.MODELS.get("mmpretrain.SwinTransformer")\n'
            'assert registry.LOOPS.get("ExplanationLoop") and registry.EXPLAINERS.get("saliency")\n'
            'assert not {"captum", "skimage"} & set(sys.modules)')
    run(code)


@pytest.fixture(scope='module', params=['import mmfss', 'import mmengine.runner; import mmfss', ''])
def script(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a script finds that imports mmfss before MMEngine, after it, or not, so that only its config does."""
    folder = tmp_path_factory.mktemp('script')
    config, bad = folder / 'config.py', folder / 'bad.pth'
    config.write_text(f"""
_base_ = '{ROOT}/configs/dcama/resnet18_shapes_fold0.py'
custom_imports = dict(imports=['mmfss'], allow_failed_imports=False)
work_dir = '{folder}'
log_level = 'ERROR'
""")
    torch.save(dict(state_dict=dict(a=torch.ones(1)), run=Path('x')), bad)
    code = (f'{request.param}\n'
            'from mmengine.config import Config\n'
            'from mmengine.runner import CheckpointLoader, Runner, load_checkpoint\n'
            'from tests.quick_runners import make_runners_quick\n'
            'make_runners_quick()\n'
            f'load = lambda: CheckpointLoader.load_checkpoint({str(bad)!r}, "cpu")\n'
            'def error():\n'
            '    try: load()\n'
            '    except Exception as error: return type(error).__name__\n'
            'before = error()\n'
            f'runner = Runner.from_cfg(Config.fromfile({str(config)!r}))\n'
            'print(type(runner.model).__name__, CheckpointLoader._schemes[""].__module__, before, error())')
    return [*run(code).splitlines()[-1].split(), request.param]


def test_runner_of_a_script(script: list[str]) -> None:
    """MMEngine's runner builds a config of this package, also in a script that only the config tells of it."""
    assert script[:2] == ['FewShotSegmentor', 'mmfss.utils.checkpoint']


def test_safe_loaders_of_a_script(script: list[str]) -> None:
    """MMEngine's own functions refuse code in a checkpoint once mmfss is imported, before or after MMEngine."""
    before, after, first = script[2:5]
    assert after == 'CheckpointError' and (before == 'CheckpointError' or not first)

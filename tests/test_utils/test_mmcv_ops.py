import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.utils.dl_utils import mmcv_full_available

from mmfss.utils.mmcv_ops import provide_mmcv_ops

needs_stand_in = pytest.mark.skipif(provide_mmcv_ops(), reason='MMCV is installed with its compiled operators')


@needs_stand_in
def test_operator_says_what_to_install() -> None:
    from mmcv.ops import nms  # cannot be imported before mmfss
    boxes = torch.tensor([[0., 0., 1., 1.]])
    with pytest.raises(RuntimeError, match=r'operator "nms" needs the compiled extension.*"mmcv==2.1.0"'):
        nms(boxes, torch.ones(1), 0.5)


@needs_stand_in
def test_mmengine_sees_no_compiled_operators() -> None:
    assert mmcv_full_available() is False


def _run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-c', code], cwd=Path(__file__).parents[2], capture_output=True, text=True,
                          timeout=200)


def test_compiled_extension_is_left_alone() -> None:
    """An extension that is already there, whoever provides it, is not replaced."""
    code = ("import sys, types, importlib.util as u\n"
            "spec = u.spec_from_file_location('m', 'mmfss/utils/mmcv_ops.py'); m = u.module_from_spec(spec)\n"
            "spec.loader.exec_module(m)\n"
            "real = types.ModuleType('mmcv._ext'); sys.modules['mmcv._ext'] = real\n"
            "assert m.provide_mmcv_ops() is True and sys.modules['mmcv._ext'] is real\n"
            "print('left alone')")
    assert 'left alone' in _run(code).stdout


def test_missing_mmcv_and_broken_extension_are_named() -> None:
    code = ("import importlib.util as u, sys, tempfile, pathlib\n"
            "spec = u.spec_from_file_location('m', 'mmfss/utils/mmcv_ops.py'); m = u.module_from_spec(spec)\n"
            "spec.loader.exec_module(m)\n"
            "root = pathlib.Path(tempfile.mkdtemp()); (root / 'mmcv').mkdir()\n"
            "sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
            "def error():\n"
            "    try: m.check_mmcv_ops()\n"
            "    except ImportError as e: print(e)\n"
            "error()\n"
            "sys.path.insert(0, str(root)); (root / 'mmcv' / '__init__.py').touch()\n"
            "(root / 'mmcv' / '_ext.py').write_text('raise ImportError(\"undefined symbol\")')\n"
            "error()")
    lines = _run(code).stdout.splitlines()
    assert 'needs MMCV: install "mmcv-lite==2.1.0"' in lines[0]
    assert 'is installed but does not load' in lines[1] and 'undefined symbol' in lines[1]

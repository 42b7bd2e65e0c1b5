"""Packages that one class needs are imported when it is used, and the class works as before."""
import subprocess
import sys
from pathlib import Path

import pytest

from mmfss.utils.lazy_imports import import_when_used

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


def test_packages_of_one_class() -> None:
    """Neither is imported for a prediction; both work where they are needed."""
    run('import sys, torch, mmfss.apis\n'
        'assert not {"torchvision", "scipy.optimize", "timm"} & set(sys.modules)\n'
        'from mmseg.models.assigners import hungarian_assigner\n'
        'assert hungarian_assigner.linear_sum_assignment([[2., 1.], [1., 2.]])[1].tolist() == [1, 0]\n'
        'from mmpretrain.evaluation.metrics.visual_grounding_eval import aligned_box_iou\n'
        'boxes = torch.tensor([[0., 0., 2., 2.]])\n'
        'assert aligned_box_iou(boxes, boxes).tolist() == [1.]\n')


def test_absent_packages_stay_absent() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'there_is_none'"):
        import_when_used('there_is_none.part')

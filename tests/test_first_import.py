"""The package in a fresh interpreter: silent, and without what is imported when it is used.

One interpreter answers all questions: each takes seconds to import PyTorch and OpenMMLab's packages.
"""
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mmfss.utils.threads import LAUNCHED, WAITING

ROOT = Path(__file__).parents[1]
THREADS = (*WAITING, *LAUNCHED, 'OMP_NUM_THREADS')
CODE = """
import json, os, sys
import mmfss, mmfss.registry
facts = dict(environment=dict(os.environ))
import numpy as np
from mmfss.visualization.overlay import caption_image
caption_image(np.zeros((9, 90, 3), np.uint8), 'cat')
facts['fonts'] = 'matplotlib.font_manager' in sys.modules
import mmpretrain.models, mmfss.models
facts['timm'] = ['timm' in sys.modules]
sys.stdout.flush(), sys.stderr.flush()
facts['printed'] = [os.fstat(stream).st_size for stream in (1, 2)]
if sys.argv[2] == 'timm':
    from mmfss.registry import MODELS
    MODELS.build(dict(type='mmseg.TIMMBackbone', model_name='resnet18', pretrained=False, features_only=True))
    facts['timm'].append('timm' in sys.modules)
with open(sys.argv[1], 'w') as file:
    json.dump(facts, file)
"""


@pytest.fixture(scope='module')
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp('fresh')
    clean = {key: value for key, value in os.environ.items() if key not in THREADS}
    with open(folder / 'out', 'wb') as out, open(folder / 'err', 'wb') as err:
        ended = subprocess.run(
            [sys.executable, '-c', CODE, str(folder / 'facts.json'), 'timm' if find_spec('timm') else ''], cwd=ROOT,
            env=dict(clean, PYTHONPATH=str(ROOT)), stdout=out, stderr=err, timeout=200)
    assert ended.returncode == 0, (folder / 'err').read_text()[-2000:]
    return json.loads((folder / 'facts.json').read_text())


def test_is_silent(facts: dict[str, Any]) -> None:
    assert facts['printed'] == [0, 0]


def test_leaves_the_threads_alone(facts: dict[str, Any]) -> None:
    """A program that imports mmfss, also its registries and models, is no command."""
    assert not {*WAITING, 'OMP_NUM_THREADS'} & set(facts['environment'])


def test_ascii_does_not_search_for_fonts(facts: dict[str, Any]) -> None:
    assert facts['fonts'] is False


def test_timm_is_imported_by_its_first_use(facts: dict[str, Any]) -> None:
    if not find_spec('timm'):
        pytest.skip('timm is not installed (extra "dinov3")')
    assert facts['timm'] == [False, True]

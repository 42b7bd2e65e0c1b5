import random
from pathlib import Path

import numpy as np
import torch

from mmfss.utils.random_state import get_random_state, preserve_random_state, set_random_state


def _draw() -> list:
    # randn and gauss keep a second number for the next call: it is part of the state.
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), float(torch.rand(()))]


def test_state_survives_a_safe_checkpoint(tmp_path: Path) -> None:
    _draw()
    torch.save(get_random_state(), tmp_path / 'state.pth')
    expected = _draw() + _draw()
    set_random_state(torch.load(tmp_path / 'state.pth', weights_only=True))
    assert _draw() + _draw() == expected


def test_preserve_random_state() -> None:
    state = get_random_state()
    expected = _draw()
    set_random_state(state)
    with preserve_random_state():
        assert _draw() == expected
    assert _draw() == expected

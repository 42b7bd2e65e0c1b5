"""Timing of functions, including their GPU work."""
import time
from typing import Callable, TypeVar

import torch

T = TypeVar('T')


def timed(function: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """Call a function; return its result and the seconds it took, including its GPU work."""
    _wait_for(device)
    start = time.perf_counter()
    result = function()
    _wait_for(device)
    return result, time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)

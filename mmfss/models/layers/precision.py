"""Context for float32 products at full precision, in mixed-precision runs and with TF32."""
import threading
from contextlib import contextmanager
from typing import Iterator, Optional

import torch

from .exporting import exporting

# Of a kind of device: how many blocks of all threads are open, and the precision to go back to after the last.
_OPEN: dict[str, tuple[int, str]] = {}
_LOCK = threading.Lock()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 whatever autocast and the precision of matrix products (TF32, bfloat16) are set to.

    A squared distance is a small difference of large products: at a prototype's own source cell half precision misses
    zero by 0.05 (float16) or 0.4 (bfloat16), where the similarity has its peak and a width of 1e-4.

    The precision of matrix products is a switch of the process: while a block is open in one thread, products of other
    threads are exact too.

    Args:
        device (torch.device): Where the product runs.
    """
    if exporting():  # A graph has the precision of its tensors.
        yield
        return
    reduced = _reduced_precision(device.type)
    if reduced is not None:
        _open(device.type, reduced)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if reduced is not None:
            _close(device.type)


def _open(device_type: str, reduced: str) -> None:
    with _LOCK:
        blocks, reduced = _OPEN.get(device_type, (0, reduced))
        _OPEN[device_type] = blocks + 1, reduced
        _set_precision(device_type, _EXACT)


def _close(device_type: str) -> None:
    with _LOCK:
        blocks, reduced = _OPEN.pop(device_type)
        if blocks > 1:
            _OPEN[device_type] = blocks - 1, reduced
        else:
            _set_precision(device_type, reduced)


# A kind of device has a switch of its own since PyTorch 2.9. Where it was used, the older one for all can not be read.
_BACKENDS = dict(cuda=torch.backends.cuda, cpu=torch.backends.mkldnn)
_EXACT = 'ieee'


@torch.compiler.assume_constant_result
def _reduced_precision(device_type: str) -> Optional[str]:
    """Return the reduced precision of float32 matrix products on a kind of device outside of blocks, or None."""
    with _LOCK:
        if device_type in _OPEN:
            return _OPEN[device_type][1]
        return _switched(device_type)


def _switched(device_type: str) -> Optional[str]:
    switch = getattr(_BACKENDS.get(device_type), 'matmul', None)
    if hasattr(switch, 'fp32_precision'):
        return None if switch.fp32_precision in (_EXACT, 'none') else switch.fp32_precision
    return 'tf32' if device_type == 'cuda' and switch.allow_tf32 else None


def _set_precision(device_type: str, precision: str) -> None:
    switch = _BACKENDS[device_type].matmul
    if hasattr(switch, 'fp32_precision'):
        switch.fp32_precision = precision
    else:
        switch.allow_tf32 = precision != _EXACT

"""Float32 products that must not be shortened, in a mixed-precision run or by a global switch."""
from contextlib import contextmanager
from typing import Iterator, Optional

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 whatever autocast and the precision of matrix products (TF32, bfloat16) are set to.

    A squared distance is a small difference of large products: at a prototype's own source cell half precision misses
    zero by 0.05 (float16) or 0.4 (bfloat16), where the similarity has its peak and a width of 1e-4.

    Args:
        device (torch.device): Where the product runs.
    """
    reduced = _reduced_precision(device.type)
    if reduced is not None:
        _set_precision(device.type, _EXACT)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if reduced is not None:
            _set_precision(device.type, reduced)


# A kind of device has a switch of its own since PyTorch 2.9. Where it was used, the older one for all can not be read.
_BACKENDS = dict(cuda=torch.backends.cuda, cpu=torch.backends.mkldnn)
_EXACT = 'ieee'


@torch.compiler.assume_constant_result
def _reduced_precision(device_type: str) -> Optional[str]:
    """To what float32 matrix products are shortened on a kind of device; None if they are not."""
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

"""States of the global random generators, as plain values for checkpoints."""
import random
from contextlib import contextmanager
from typing import Any, Dict, Iterator

import numpy as np
import torch

RandomState = Dict[str, Any]


def get_random_state() -> RandomState:
    """Read the generators of Python, NumPy, PyTorch and every visible CUDA device.

    Returns:
        dict: Tuples, numbers and CPU tensors only, so that it loads with ``torch.load(weights_only=True)``.
    """
    algorithm, keys, position, has_gauss, gauss = np.random.get_state()
    return dict(
        python=random.getstate(),
        numpy=(str(algorithm), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])


def set_random_state(state: RandomState) -> None:
    """Restore the generators to a result of :func:`get_random_state`.

    States of CUDA devices that this process does not have are left out.

    Args:
        state (dict): The state; its tensors may have been moved to another device by a checkpoint loader.
    """
    version, keys, gauss = state['python']
    random.setstate((version, tuple(keys), gauss))
    algorithm, keys, *rest = state['numpy']
    np.random.set_state((algorithm, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state['torch'].cpu())
    if torch.cuda.is_available():
        for device, cuda_state in enumerate(state['cuda'][:torch.cuda.device_count()]):
            torch.cuda.set_rng_state(cuda_state.cpu(), device)


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restore the global generators after the block."""
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)


def seed_all(*key: int) -> None:
    """Seed Python, NumPy and PyTorch on all devices by a key of integers."""
    seeds = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(seeds[1])
    torch.manual_seed(int(seeds[2]))

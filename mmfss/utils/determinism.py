"""Bit-exact runs on a GPU: ``randomness=dict(seed=0, deterministic=True)`` in a config."""
import os
from typing import Any, Mapping

import torch
from torch import Tensor

CUBLAS_WORKSPACE = 'CUBLAS_WORKSPACE_CONFIG'


def prepare_determinism(cfg: Mapping[str, Any]) -> None:
    """Set the environment of deterministic matrix products, before CUDA starts, if a config asks for it.

    MMEngine's runner does the rest: ``torch.use_deterministic_algorithms(True)`` and cuDNN's deterministic algorithms.
    cuBLAS reads the environment variable ``CUBLAS_WORKSPACE_CONFIG`` when it is first used; a value that is set stays.

    Args:
        cfg (Mapping): A config.

    Example:
        >>> prepare_determinism(dict(randomness=dict(seed=0, deterministic=True)))
    """
    if (cfg.get('randomness') or {}).get('deterministic'):
        os.environ.setdefault(CUBLAS_WORKSPACE, ':4096:8')


def avoids_atomics(x: Tensor) -> bool:
    """Check whether an operation on a tensor must avoid atomic additions, whose order is random.

    Args:
        x (Tensor): An input of the operation.

    Returns:
        bool: True if deterministic algorithms are on and the tensor is not on the CPU, where every operation is
        deterministic.
    """
    return not x.is_cpu and torch.are_deterministic_algorithms_enabled()

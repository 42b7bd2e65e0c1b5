"""Dataclasses as containers that PyTorch looks into."""
from typing import TypeVar

from torch.export import register_dataclass

C = TypeVar('C', bound=type)


def pytree(cls: C) -> C:
    """Register a dataclass as a pytree, so that ``torch.export`` and ``torch.utils._pytree`` see its tensors.

    Example:
        >>> import torch
        >>> from torch.utils._pytree import tree_map
        >>> from mmfss.models import FeaturePyramid
        >>> pyramid = FeaturePyramid(((torch.zeros(1, 2, 4, 4), ), ))
        >>> tree_map(lambda x: x + 1, pyramid)[0][0].mean().item()
        1.0
    """
    register_dataclass(cls)
    return cls

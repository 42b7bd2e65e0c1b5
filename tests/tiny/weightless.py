"""Build big models in no time and memory."""
from typing import Any, Callable

import torch
from torch.overrides import TorchFunctionMode


class Weightless(TorchFunctionMode):
    """Inside this context, layers hold weights of the right names and shapes without content.

    ``torch.device('meta')`` would also catch numbers that backbones compute when they are built.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs['device'] = 'meta'
        return func(*args, **kwargs)

"""Results of a costly function that several tests ask for with the same arguments."""
from typing import Any, Callable, Hashable

from torch import Tensor


def remembered(function: Callable) -> Callable:
    """Compute each result once: tensors are told apart by content, all other arguments by identity.

    Whoever gets a result must leave it as it is.
    """
    results: dict[Hashable, tuple[tuple, Any]] = {}

    def call(*args: Any) -> Any:
        key = tuple(_content(x) if isinstance(x, Tensor) else id(x) for x in args)
        if key not in results:
            # With its arguments, whose identity nothing else can take as long as they are alive.
            results[key] = args, function(*args)
        return results[key][1]

    return call


def _content(x: Tensor) -> Hashable:
    return tuple(x.shape), x.dtype, x.detach().numpy().tobytes()

"""Watch the sizes of the tensors that a computation makes."""
from typing import Any, Optional

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that is made."""
    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Optional[dict] = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                # An expanded view takes no memory.
                self.largest = max(self.largest, leaf.untyped_storage().nbytes() // leaf.element_size())
        return out

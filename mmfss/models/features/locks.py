"""Locks of backbones that have temporary hooks."""
import threading
from weakref import WeakKeyDictionary

from torch import nn

# Outside of the modules, which can then be copied and pickled.
_LOCKS: WeakKeyDictionary = WeakKeyDictionary()
_TABLE = threading.Lock()


def lock_of(backbone: nn.Module) -> threading.RLock:
    """Return the lock that a thread holds while its hooks are set on a backbone, or while it needs one without hooks.

    Args:
        backbone (nn.Module): The backbone, compiled or not.

    Returns:
        threading.RLock: The same for the same backbone; the thread that holds it may take it again.
    """
    with _TABLE:
        return _LOCKS.setdefault(backbone._modules.get('_orig_mod', backbone), threading.RLock())

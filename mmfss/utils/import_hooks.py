"""Do something right before or after another package's module is imported, without importing it."""
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional

Action = Callable[[ModuleType], None]
Preparation = Callable[[], None]


class _AfterImport(MetaPathFinder):
    """Finds the modules that something waits for, as the import system would, and runs what waits."""

    def __init__(self) -> None:
        self.preparations: Dict[str, List[Preparation]] = {}
        self.actions: Dict[str, List[Action]] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        if name not in self.actions and name not in self.preparations:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                for prepare in self.preparations.pop(name, ()):
                    prepare()
                execute(module)
                for action in self.actions.pop(name, ()):
                    action(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_finder = _AfterImport()


def after_import(name: str, action: Action) -> None:
    """Run an action on a module: now if it is imported already, else once when it will be.

    Args:
        name (str): Full name of a module inside a package, e.g. ``'mmengine.runner.checkpoint'``.
        action (Callable): Takes the module.

    Example:
        >>> after_import('json.decoder', lambda module: print(module.__name__))
        json.decoder
    """
    if name in sys.modules:
        action(sys.modules[name])
        return
    _wait(_finder.actions, name, action)


def before_import(name: str, prepare: Preparation) -> None:
    """Run a preparation once, right before a module is imported; never if it is imported already.

    Args:
        name (str): Full name of a module inside a package.
        prepare (Callable): Takes nothing.
    """
    if name not in sys.modules:
        _wait(_finder.preparations, name, prepare)


def _wait(waiting: Dict[str, list], name: str, action: Callable) -> None:
    waiting.setdefault(name, []).append(action)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)

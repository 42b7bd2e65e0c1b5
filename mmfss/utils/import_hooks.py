"""Do something when another package's module is imported, without importing it."""
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional

Action = Callable[[ModuleType], None]
Execution = Callable[[str, ModuleType], None]


class _AfterImport(MetaPathFinder):
    """Finds the modules that something waits for, as the import system would, and runs what waits."""

    def __init__(self) -> None:
        self.executions: Dict[str, Execution] = {}
        self.actions: Dict[str, List[Action]] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        if name not in self.actions and name not in self.executions:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            loader, execute = spec.loader, spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execution = self.executions.pop(name, None)
                source = loader.get_source(name) if execution and hasattr(loader, 'get_source') else None
                if source is None:
                    execute(module)
                else:
                    execution(source, module)
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
    _finder.actions.setdefault(name, []).append(action)
    _be_asked()


def execute_instead(name: str, execution: Execution) -> None:
    """Let a function execute a module's source when it is imported; nothing if it is imported already.

    Args:
        name (str): Full name of a module inside a package.
        execution (Callable): Takes the source and the module to fill. Without a source, the module is imported as ever.
    """
    if name not in sys.modules:
        _finder.executions[name] = execution
        _be_asked()


def _be_asked() -> None:
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)

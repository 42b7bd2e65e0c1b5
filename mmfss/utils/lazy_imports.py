"""Import packages when they are used, where another package imports them for one class out of many.

MMSegmentation imports timm for one backbone and SciPy's optimizers for one assigner, MMPretrain imports torchvision for
one metric and for boxes. Together that is about a third of the time that both packages take to import.
"""
import ast
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any, Optional

from .import_hooks import execute_instead

# What is imported late, by the module that imports it.
_LATE = {
    'mmseg.models.backbones.timm_backbone': 'timm',
    'mmseg.models.assigners.hungarian_assigner': 'scipy.optimize',
    'mmseg.models.backbones.beit': 'scipy',
    'mmpretrain.evaluation.metrics.visual_grounding_eval': 'torchvision.ops.boxes',
    'mmpretrain.models.utils.box_utils': 'torchvision.ops.boxes',
}
_MAKER = '__import_when_used'


class LateImport:
    """Stand for a module, or for one name in it, in the namespace of a module that will perhaps use it.

    Args:
        module (str): The module that the first use imports.
        name (str, optional): A function or class in it.
    """

    def __init__(self, module: str, name: Optional[str] = None) -> None:
        self._place = (module, name)

    def _find(self) -> Any:
        module, name = self._place
        found = importlib.import_module(module)
        return found if name is None else getattr(found, name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._find()(*args, **kwargs)


def import_when_used(module: str, name: Optional[str] = None) -> Any:
    """Return a module or a name in it, if the module is imported already, else what imports it when it is used.

    Args:
        module (str): The module.
        name (str, optional): A function or class in it.

    Returns:
        Any: The module or name itself, or a :class:`LateImport`.

    Raises:
        ModuleNotFoundError: If the package is not installed.

    Example:
        >>> import_when_used('json').dumps([1])
        '[1]'
    """
    package = module.partition('.')[0]
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    late, loaded = LateImport(module, name), sys.modules.get(module)
    return late if loaded is None or (name is not None and name not in vars(loaded)) else late._find()


class _ImportsLate(ast.NodeTransformer):
    """Call :func:`import_when_used` where a module would be imported."""

    def __init__(self, module: str) -> None:
        self.module = module

    def visit_Import(self, node: ast.Import) -> ast.AST:
        """``import a.b as c`` becomes ``c = import_when_used('a.b')``."""
        name, *more = node.names
        target = name.asname or name.name
        if name.name != self.module or more or '.' in target:
            return node
        return self._assign(node, target, [name.name])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """``from a.b import c`` becomes ``c = import_when_used('a.b', 'c')``."""
        name, *more = node.names
        if node.module != self.module or more:
            return node
        return self._assign(node, name.asname or name.name, [self.module, name.name])

    @staticmethod
    def _assign(node: ast.AST, target: str, arguments: list[str]) -> ast.AST:
        call = ast.Call(ast.Name(_MAKER, ast.Load()), [ast.Constant(argument) for argument in arguments], [])
        return ast.copy_location(ast.Assign([ast.Name(target, ast.Store())], call), node)


def import_late() -> None:
    """Prepare the modules that import too much; imports nothing itself, and changes no module that is imported."""
    for user, module in _LATE.items():
        execute_instead(user, lambda source, target, module=module: _execute(source, target, module))


def _execute(source: str, target: ModuleType, module: str) -> None:
    tree = ast.fix_missing_locations(_ImportsLate(module).visit(ast.parse(source)))
    vars(target)[_MAKER] = import_when_used
    exec(compile(tree, target.__file__ or '<unknown>', 'exec'), vars(target))

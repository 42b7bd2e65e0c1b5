"""Scripts of ``tools`` as modules."""
import importlib.util
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'


def load_tool(name: str) -> ModuleType:
    """Execute a script of ``tools/analysis_tools`` anew; what it imports of its folder must be on the path."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""Packages that only some explainers need."""
import importlib
from types import ModuleType


def import_extra(module: str, extra: str = 'explain') -> ModuleType:
    """Import a module of an optional package.

    Args:
        module (str): Dotted name.
        extra (str): The extra of this package that installs it.

    Raises:
        ImportError: With the command that installs the missing package.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'This explainer needs "{module}", which cannot be imported ({error}). Install it with: '
                          f'pip install "mmfss[{extra}]"') from error

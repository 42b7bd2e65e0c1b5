"""Let MMSegmentation be imported without MMCV's compiled operators.

MMSegmentation imports ``mmcv.ops`` when it is imported. ``mmcv-lite`` holds the Python files of ``mmcv.ops`` but not
the compiled extension ``mmcv._ext`` they load. mmfss needs none of the operators, so it puts a stand-in in the
extension's place: everything imports, and an operator that really needs the extension raises an error when it is
called.
"""
import importlib.util
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Callable

EXTENSION = 'mmcv._ext'


class _MissingExtension(ModuleType):
    """Stand in for ``mmcv._ext``: any operator can be looked up, none can be called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing_operator(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError(
                f'The operator "{name}" needs the compiled extension of MMCV, and this environment has none. '
                'Install the package "mmcv==2.1.0" built with its operators in place of "mmcv-lite".')

        return missing_operator


def provide_mmcv_ops() -> bool:
    """Put the stand-in in place if the compiled extension is absent; MMCV itself is not imported.

    Whether it is absent is decided by looking for the extension itself: a distribution called ``mmcv`` may have been
    built without it. MMEngine tests the module's ``__spec__`` to tell a real extension, hence the spec without loader.

    Returns:
        bool: Whether there is a compiled extension. See :func:`check_mmcv_ops` for whether it loads.

    Raises:
        ImportError: If MMCV is not installed.
    """
    package = importlib.util.find_spec('mmcv')
    if package is None:
        raise ImportError('mmfss needs MMCV: install "mmcv-lite==2.1.0", or "mmcv==2.1.0" with compiled operators.')
    loaded = sys.modules.get(EXTENSION)
    if loaded is not None:
        return not isinstance(loaded, _MissingExtension)
    if PathFinder.find_spec(EXTENSION, package.submodule_search_locations) is not None:
        return True
    stand_in = _MissingExtension(EXTENSION, 'Stand-in of mmfss for the compiled operators of MMCV.')
    stand_in.__spec__ = ModuleSpec(EXTENSION, loader=None)
    sys.modules[EXTENSION] = stand_in
    return False


def check_mmcv_ops() -> None:
    """Make sure that the compiled extension loads, if there is one. To be called before MMSegmentation is imported.

    Raises:
        ImportError: If it does not load.
    """
    if provide_mmcv_ops():
        try:
            importlib.import_module(EXTENSION)
        except ImportError as error:
            raise ImportError(
                'The compiled extension of MMCV is installed but does not load, probably because it was built for '
                f'another PyTorch ({error}). Rebuild "mmcv==2.1.0" for this PyTorch, or install "mmcv-lite==2.1.0" '
                'instead.') from error

"""Import timm when a model needs it.

MMSegmentation imports timm wherever it is installed, for one backbone. With torchvision, which timm imports, that is
about a quarter of the time that MMSegmentation takes to import.
"""
import importlib.util
import sys
from types import ModuleType
from typing import Any

from .import_hooks import after_import, before_import

_USER = 'mmseg.models.backbones.timm_backbone'


class LazyTimm:
    """Stand for the module ``timm``, which the first use of an attribute imports."""

    def __getattr__(self, name: str) -> Any:
        import timm
        return getattr(timm, name)


def import_timm_lazily() -> None:
    """Let MMSegmentation import timm only when its ``TIMMBackbone`` is built; imports nothing itself."""
    before_import(_USER, _hide)
    after_import(_USER, _replace)


def _hide() -> None:
    # None in the table of modules makes `import timm` fail, which MMSegmentation expects.
    sys.modules.setdefault('timm', None)  # type: ignore[arg-type]


def _replace(backbone: ModuleType) -> None:
    if sys.modules.get('timm', backbone) is None:
        del sys.modules['timm']
        if importlib.util.find_spec('timm') is not None:
            backbone.timm = LazyTimm()

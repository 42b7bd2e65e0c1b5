"""mmfss: few-shot semantic segmentation that explains itself, on MMSegmentation.

Importing the package is cheap: it prepares the later import of MMEngine, MMSegmentation and MMPretrain, and imports
none of them. The registries (``mmfss.registry``) import what they are asked for.
"""
from types import ModuleType
from typing import Any

from .utils.import_hooks import after_import
from .utils.lazy_imports import import_late
from .utils.mmcv_ops import check_mmcv_ops, provide_mmcv_ops
from .utils.mmpretrain_multimodal import skip_multimodal_models
from .utils.package_root import provide_base_configs
from .version import __version__


def _read_checkpoints_safely(_: ModuleType) -> None:
    from .utils import checkpoint  # noqa: F401  (its loaders take the place of MMEngine's)


def _know_the_scope(utils: ModuleType) -> None:
    utils.MODULE2PACKAGE['mmfss'] = 'mmfss'  # for mmengine.hub


def _load_operators(_: ModuleType) -> None:
    check_mmcv_ops()


if provide_mmcv_ops():
    after_import('mmseg.version', _load_operators)
skip_multimodal_models()
import_late()
after_import('mmengine.config.utils', _know_the_scope)
after_import('mmengine.config.config', provide_base_configs)
after_import('mmengine.runner.checkpoint', _read_checkpoints_safely)


def __getattr__(name: str) -> Any:
    if name == 'register_all_modules':
        from .registry import register_all_modules
        return register_all_modules
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


__all__ = ['__version__', 'register_all_modules']

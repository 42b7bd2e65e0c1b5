"""Import MMPretrain without its multimodal models, which current versions of ``transformers`` break.

MMPretrain imports these models wherever ``transformers`` and ``pycocotools`` are installed, and the import fails with
``transformers`` 5. mmfss needs none of them, so it lets MMPretrain do what it does where these packages are absent:
each multimodal model becomes an entry of the registry that raises an error when it is built.

Set the environment variable ``MMFSS_MULTIMODAL=1``, or import ``mmpretrain.models`` before ``mmfss``, to have the
multimodal models; ``transformers`` must be a version that MMPretrain works with (4.28 or later, below 5).
"""
import importlib.metadata
import os
import sys
from types import ModuleType

from .import_hooks import after_import

MULTIMODAL = 'MMFSS_MULTIMODAL'


def multimodal_models_wanted() -> bool:
    """bool: Whether the user set ``MMFSS_MULTIMODAL=1``."""
    return os.environ.get(MULTIMODAL, '') not in ('', '0')


def skip_multimodal_models() -> bool:
    """Let MMPretrain leave out its multimodal models, unless they are asked for or ``mmpretrain.models`` is imported.

    To be called before the first import of ``mmpretrain.models``; imports nothing itself.

    Returns:
        bool: Whether they are left out by this call.
    """
    if 'mmpretrain.models' in sys.modules or multimodal_models_wanted():
        return False
    # The flag is read when mmpretrain.models and mmpretrain.datasets are imported, which import this module first.
    after_import('mmpretrain.utils.dependency', _leave_out)
    return True


def _leave_out(dependency: ModuleType) -> None:
    dependency.WITH_MULTIMODAL = False


def import_multimodal_models() -> None:
    """Import the multimodal models if they are asked for.

    Raises:
        ImportError: If they are asked for with ``MMFSS_MULTIMODAL=1`` and cannot be imported.
    """
    if not multimodal_models_wanted():
        return
    try:
        import mmpretrain.models  # noqa: F401
    except Exception as error:  # Class definitions fail as they may: with a TypeError in transformers 5.
        try:
            version = importlib.metadata.version('transformers')
        except importlib.metadata.PackageNotFoundError:
            raise error from None
        raise ImportError(
            f'{MULTIMODAL}=1 asks for the multimodal models of MMPretrain, which cannot be imported with transformers '
            f'{version} ({type(error).__name__}: {error}). Install "transformers>=4.28,<5", or unset {MULTIMODAL}.'
        ) from error

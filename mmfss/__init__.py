"""mmfss: few-shot semantic segmentation that explains itself, on MMSegmentation."""

# First of all imports: MMSegmentation cannot be imported without it (see the module).
from .utils.mmcv_ops import provide_mmcv_ops

provide_mmcv_ops()

from .registry import register_all_modules  # noqa: E402
from .version import __version__  # noqa: E402

register_all_modules()

__all__ = ['__version__', 'register_all_modules']

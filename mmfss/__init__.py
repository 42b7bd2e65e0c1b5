"""mmfss: few-shot semantic segmentation that explains itself, on MMSegmentation."""

# First of all imports: MMSegmentation and MMPretrain may not import without them (see the modules).
from .utils.mmcv_ops import provide_mmcv_ops
from .utils.mmpretrain_multimodal import skip_multimodal_models

provide_mmcv_ops()
skip_multimodal_models()

from .registry import register_all_modules  # noqa: E402
from .version import __version__  # noqa: E402

register_all_modules()

__all__ = ['__version__', 'register_all_modules']

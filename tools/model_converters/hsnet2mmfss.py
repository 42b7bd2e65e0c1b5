"""Convert a checkpoint of the official HSNet implementation (ResNet-50, ResNet-101 or VGG-16 inside) to mmfss."""
import mmfss_threads  # noqa: F401  (before PyTorch)

import mmfss  # noqa: F401  (first: it prepares the import of MMSegmentation)
from mmfss.converters.published_weights import convert_hsnet, run_converter

if __name__ == '__main__':
    run_converter(convert_hsnet, __doc__)

"""Convert a checkpoint of the official DCAMA implementation (ResNet-50, ResNet-101 or Swin-B inside) to mmfss."""
import mmfss_threads  # noqa: F401  (before PyTorch)

import mmfss  # noqa: F401  (first: it prepares the import of MMSegmentation)
from mmfss.converters.published_weights import convert_dcama, run_converter

if __name__ == '__main__':
    run_converter(convert_dcama, __doc__)

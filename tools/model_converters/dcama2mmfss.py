"""Convert a checkpoint of the official DCAMA implementation (ResNet-50, ResNet-101 or Swin-B inside) to mmfss."""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

from mmfss.converters.published_weights import convert_dcama, run_converter

if __name__ == '__main__':
    run_converter(convert_dcama, __doc__)

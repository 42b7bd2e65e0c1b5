"""Convert a checkpoint of the official HSNet implementation (ResNet-50, ResNet-101 or VGG-16 inside) to mmfss."""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

from mmfss.converters.published_weights import convert_hsnet, run_converter

if __name__ == '__main__':
    run_converter(convert_hsnet, __doc__)

"""Convert Swin Transformer weights of the official implementation to MMPretrain names."""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

from mmfss.converters.published_weights import convert_swin, run_converter

if __name__ == '__main__':
    run_converter(convert_swin, __doc__)

"""Convert ResNet or VGG weights with torchvision names to MMPretrain names."""
import mmfss_threads  # noqa: F401  (before PyTorch)

import mmfss  # noqa: F401  (first: it prepares the import of MMSegmentation)
from mmfss.converters.published_weights import convert_resnet, run_converter

if __name__ == '__main__':
    run_converter(convert_resnet, __doc__)

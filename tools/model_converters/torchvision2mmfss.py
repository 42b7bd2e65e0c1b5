"""Convert ResNet or VGG weights with torchvision names to MMPretrain names."""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

from mmfss.converters.published_weights import convert_resnet, run_converter

if __name__ == '__main__':
    run_converter(convert_resnet, __doc__)

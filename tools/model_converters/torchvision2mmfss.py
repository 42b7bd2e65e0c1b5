"""Convert ResNet or VGG weights with torchvision names to MMPretrain names."""
from mmfss.commands.model_converters.published_weights import main

if __name__ == '__main__':
    main('torchvision', __doc__)

"""Convert a checkpoint of the official HSNet implementation (ResNet-50, ResNet-101 or VGG-16 inside) to mmfss."""
from mmfss.commands.model_converters.published_weights import main

if __name__ == '__main__':
    main('hsnet', __doc__)

"""Convert a checkpoint of the official DMTNet implementation (ResNet-50 or VGG-16 inside) to mmfss."""
from mmfss.commands.model_converters.published_weights import main

if __name__ == '__main__':
    main('dmtnet', __doc__)

"""Convert a checkpoint of the official DCAMA implementation (ResNet-50, ResNet-101 or Swin-B inside) to mmfss."""
from mmfss.commands.model_converters.published_weights import main

if __name__ == '__main__':
    main('dcama', __doc__)

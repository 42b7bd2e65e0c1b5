"""Convert a checkpoint of the official unrolled LRP implementation (ResNet or VGG-16 inside) to mmfss."""
from mmfss.commands.model_converters.published_weights import main

if __name__ == '__main__':
    main('unrolled_lrp', __doc__)

"""Convert Swin Transformer weights of the official implementation to MMPretrain names."""
from mmfss.commands.model_converters.published_weights import main

if __name__ == '__main__':
    main('swin', __doc__)

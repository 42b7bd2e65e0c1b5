"""Convert Stable Diffusion 2.1, or a published DiffewS UNet, to one checkpoint of mmfss."""
from mmfss.commands.model_converters.diffews import main

if __name__ == '__main__':
    main()

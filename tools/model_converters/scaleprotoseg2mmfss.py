"""Convert a model of the official ScaleProtoSeg implementation (DeepLabv2 ResNet or U-Net, stage 1 or 2) to mmfss."""
from mmfss.commands.model_converters.scaleprotoseg import main

if __name__ == '__main__':
    main()

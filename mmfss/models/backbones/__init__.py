"""Backbones that differ from MMSegmentation's in a detail."""
from .deconv_unet import DeconvUNet
from .deeplab_resnet import DeepLabResNet

__all__ = ['DeconvUNet', 'DeepLabResNet']

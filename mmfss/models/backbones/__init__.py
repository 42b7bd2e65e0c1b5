"""Backbones that MMSegmentation and MMPretrain lack, or that differ in a detail, and weights from packages."""
from .deconv_unet import DeconvUNet
from .deeplab_resnet import DeepLabResNet
from .efficientnet_lite import EfficientNetLite
from .packaged_weights import PackagedWeights

__all__ = ['DeconvUNet', 'DeepLabResNet', 'EfficientNetLite', 'PackagedWeights']

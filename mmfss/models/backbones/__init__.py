"""Backbones that MMSegmentation and MMPretrain lack, or that differ in a detail, and weights from packages."""
from .deconv_unet import DeconvUNet
from .deeplab_resnet import DeepLabResNet
from .efficientnet_lite import EfficientNetLite
from .packaged_weights import PackagedWeights
from .segment_anything import SegmentAnything
from .timm_vision_transformer import TIMMVisionTransformer, TIMMWeights

__all__ = [
    'DeconvUNet', 'DeepLabResNet', 'EfficientNetLite', 'PackagedWeights', 'SegmentAnything', 'TIMMVisionTransformer',
    'TIMMWeights'
]

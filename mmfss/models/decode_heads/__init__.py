"""Decode heads of ordinary segmentation models."""
from .mirror_unet_head import MirrorUNetHead
from .prototype_head import PrototypeHead
from .scaleproto_group_head import ScaleProtoGroupHead
from .scaleproto_head import ScaleProtoHead
from .strided_fcn_head import StridedFCNHead
from .unrolled_lrp_head import GradientInputHead, RelevanceHead, UnrolledLRPHead

__all__ = [
    'GradientInputHead', 'MirrorUNetHead', 'PrototypeHead', 'RelevanceHead', 'ScaleProtoGroupHead',
    'ScaleProtoHead', 'StridedFCNHead', 'UnrolledLRPHead'
]

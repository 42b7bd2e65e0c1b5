"""Decode heads of ordinary segmentation models."""
from .prototype_head import PrototypeHead
from .scaleproto_group_head import ScaleProtoGroupHead
from .scaleproto_head import ScaleProtoHead
from .strided_fcn_head import StridedFCNHead

__all__ = ['PrototypeHead', 'ScaleProtoGroupHead', 'ScaleProtoHead', 'StridedFCNHead']

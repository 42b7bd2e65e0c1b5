"""Matching heads, one file per method."""
from .dcama_head import DCAMAHead
from .matching_head import MatchingHead
from .prototype_head import PrototypeHead
from .scaleproto_group_head import ScaleProtoGroupHead
from .scaleproto_head import ScaleProtoHead
from .strided_fcn_head import StridedFCNHead

__all__ = [
    'DCAMAHead', 'MatchingHead', 'PrototypeHead', 'ScaleProtoGroupHead',
    'ScaleProtoHead', 'StridedFCNHead'
]

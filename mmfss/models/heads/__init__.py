"""Matching heads, one file per method."""
from .correlation_head import CorrelationHead
from .dcama_head import DCAMAHead
from .dmtnet_head import DMTNetHead
from .few_shot_scaleproto_head import FewShotScaleProtoHead
from .hsnet_head import HSNetHead
from .matching_head import MatchingHead
from .prototype_head import PrototypeHead
from .prototype_reader import PrototypeReader
from .scaleproto_group_head import ScaleProtoGroupHead
from .scaleproto_head import ScaleProtoHead
from .strided_fcn_head import StridedFCNHead

__all__ = [
    'CorrelationHead', 'DCAMAHead', 'DMTNetHead', 'FewShotScaleProtoHead', 'HSNetHead', 'MatchingHead', 'PrototypeHead',
    'PrototypeReader', 'ScaleProtoGroupHead', 'ScaleProtoHead', 'StridedFCNHead'
]

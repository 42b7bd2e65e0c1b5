"""Matching heads, one file per method."""
from .additive_head import AdditiveHead
from .correlation_head import CorrelationHead
from .dcama_head import DCAMAHead
from .dmtnet_head import DMTNetHead
from .few_shot_head import FewShotHead
from .few_shot_scaleproto_head import FewShotScaleProtoHead
from .gfsam_head import GFSAMHead
from .hsnet_head import HSNetHead
from .insid3_head import INSID3Head
from .matching_head import MatchingHead
from .prototype_matching_head import PrototypeMatchingHead
from .prototype_reader import PrototypeReader

__all__ = [
    'AdditiveHead', 'CorrelationHead', 'DCAMAHead', 'DMTNetHead', 'FewShotHead', 'FewShotScaleProtoHead', 'GFSAMHead',
    'HSNetHead', 'INSID3Head', 'MatchingHead', 'PrototypeMatchingHead', 'PrototypeReader'
]

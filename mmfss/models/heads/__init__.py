"""Matching heads, one file per method."""
from .correlation_head import CorrelationHead
from .dcama_head import DCAMAHead
from .hsnet_head import HSNetHead
from .matching_head import MatchingHead
from .strided_fcn_head import StridedFCNHead

__all__ = ['CorrelationHead', 'DCAMAHead', 'HSNetHead', 'MatchingHead', 'StridedFCNHead']

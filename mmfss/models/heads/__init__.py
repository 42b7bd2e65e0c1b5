"""Matching heads, one file per method."""
from .dcama_head import DCAMAHead
from .matching_head import MatchingHead
from .strided_fcn_head import StridedFCNHead

__all__ = ['DCAMAHead', 'MatchingHead', 'StridedFCNHead']

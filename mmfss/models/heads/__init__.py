"""Matching heads, one file per method."""
from .dcama_head import DCAMAHead
from .matching_head import MatchingHead

__all__ = ['DCAMAHead', 'MatchingHead']

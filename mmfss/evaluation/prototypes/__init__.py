"""Interpretability of prototypes: consistency, stability, overlap."""
from .metrics import GroupOverlap, PrototypeConsistency, PrototypeOverlap, PrototypeStability
from .overlap import activated, pairwise_overlap
from .presence import masked_quantile, part_centres, part_presence
from .sample import PrototypeSample

__all__ = [
    'GroupOverlap', 'PrototypeConsistency', 'PrototypeOverlap', 'PrototypeSample', 'PrototypeStability', 'activated',
    'masked_quantile', 'pairwise_overlap', 'part_centres', 'part_presence'
]

"""Interpretability of prototypes: consistency, stability, overlap."""
from .group_report import group_report
from .metrics import GroupOverlap, GroupSparsity, PrototypeConsistency, PrototypeOverlap, PrototypeStability
from .overlap import activated, pairwise_overlap
from .presence import masked_quantile, part_centres, part_presence
from .sample import PrototypeSample

__all__ = [
    'GroupOverlap', 'GroupSparsity', 'PrototypeConsistency', 'PrototypeOverlap', 'PrototypeSample',
    'PrototypeStability', 'activated', 'group_report', 'masked_quantile', 'pairwise_overlap', 'part_centres',
    'part_presence'
]

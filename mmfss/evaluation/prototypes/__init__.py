"""Interpretability of prototypes: consistency, stability, overlap."""
from .decomposition import LogitReading, class_prototypes, filled_groups
from .group_report import group_report, used_prototypes
from .metrics import GroupOverlap, GroupSparsity, PrototypeConsistency, PrototypeOverlap, PrototypeStability
from .overlap import activated, pairwise_overlap
from .presence import masked_quantile, part_centres, part_presence
from .sample import PrototypeSample

__all__ = [
    'GroupOverlap', 'GroupSparsity', 'LogitReading', 'PrototypeConsistency', 'PrototypeOverlap', 'PrototypeSample',
    'PrototypeStability', 'activated', 'class_prototypes', 'filled_groups', 'group_report', 'masked_quantile',
    'pairwise_overlap', 'part_centres', 'part_presence', 'used_prototypes'
]

"""Metrics of few-shot segmentation and of its explanations, and the controls a model must beat."""
from .attribution import (
    AttributionMetric,
    Infidelity,
    InsertionDeletion,
    InsertionDeletionGap,
    PerturbedEpisode,
    SupportRanking,
    attribution_metric_config,
    build_attribution_metric,
)
from .controls import ControlModel, CopiedMask, PrototypeMatching
from .episodic_iou import EpisodicIoU
from .iou_metric import IoUMetric
from .presence_auc import PresenceAUC
from .prototypes import GroupOverlap, PrototypeConsistency, PrototypeOverlap, PrototypeStability

__all__ = [
    'AttributionMetric', 'ControlModel', 'CopiedMask', 'EpisodicIoU', 'GroupOverlap', 'Infidelity', 'InsertionDeletion',
    'InsertionDeletionGap', 'IoUMetric', 'PerturbedEpisode', 'PresenceAUC', 'PrototypeConsistency', 'PrototypeMatching',
    'PrototypeOverlap', 'PrototypeStability', 'SupportRanking', 'attribution_metric_config', 'build_attribution_metric'
]

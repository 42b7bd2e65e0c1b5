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
from .image_labels import ImageLabelMetric, SummedIoUMetric, average_precision
from .iou_metric import IoUMetric
from .presence_auc import PresenceAUC
from .prototypes import GroupOverlap, PrototypeConsistency, PrototypeOverlap, PrototypeStability
from .relevance import RelevanceMetric, relevance_mass, relevance_rank_accuracy

__all__ = [
    'AttributionMetric', 'ControlModel', 'CopiedMask', 'EpisodicIoU', 'GroupOverlap', 'ImageLabelMetric', 'Infidelity',
    'InsertionDeletion', 'InsertionDeletionGap', 'IoUMetric', 'PerturbedEpisode', 'PresenceAUC', 'PrototypeConsistency',
    'PrototypeMatching', 'PrototypeOverlap', 'PrototypeStability', 'RelevanceMetric', 'SummedIoUMetric',
    'SupportRanking', 'attribution_metric_config', 'average_precision', 'build_attribution_metric', 'relevance_mass',
    'relevance_rank_accuracy'
]

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

__all__ = [
    'AttributionMetric', 'ControlModel', 'CopiedMask', 'EpisodicIoU', 'Infidelity', 'InsertionDeletion',
    'InsertionDeletionGap', 'PerturbedEpisode', 'PrototypeMatching', 'SupportRanking', 'attribution_metric_config',
    'build_attribution_metric'
]

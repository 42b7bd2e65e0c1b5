"""Metrics of attributions over support images: causal metrics, support ranking, infidelity."""
from .attribution_metric import AttributionMetric, Measurement
from .causal_metric import CausalMetric, Snapshot, spaced_indices
from .infidelity import Infidelity
from .insertion_deletion import InsertionDeletion, InsertionDeletionGap
from .perturbed_episode import PerturbedEpisode
from .presets import KNOWN_METRICS, attribution_metric_config, build_attribution_metric
from .substrates import Substrate
from .support_ranking import SupportRanking
from .true_agreement import TrueAgreement

__all__ = [
    'KNOWN_METRICS', 'AttributionMetric', 'CausalMetric', 'Infidelity', 'InsertionDeletion', 'InsertionDeletionGap',
    'Measurement', 'PerturbedEpisode', 'Snapshot', 'Substrate', 'SupportRanking', 'TrueAgreement',
    'attribution_metric_config', 'build_attribution_metric', 'spaced_indices'
]

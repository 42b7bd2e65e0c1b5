"""Building blocks of matching heads."""
from .affinity import Affinity, DotProductAffinity
from .center_pivot_conv4d import CenterPivotBlock, CenterPivotConv4d, query_major
from .correlation_affinity import CorrelationAffinity, unit
from .hypercorrelation_learner import HypercorrelationLearner
from .n_way import compose_ways
from .positional_encoding import RasterPositionEncoding, sinusoidal_encoding
from .resizing import resize_aligned
from .shot_combination import SHOT_RULES, find_shot_rule

__all__ = [
    'Affinity', 'CenterPivotBlock', 'CenterPivotConv4d', 'CorrelationAffinity', 'DotProductAffinity',
    'HypercorrelationLearner', 'RasterPositionEncoding', 'SHOT_RULES', 'compose_ways', 'find_shot_rule', 'query_major',
    'resize_aligned', 'sinusoidal_encoding', 'unit'
]

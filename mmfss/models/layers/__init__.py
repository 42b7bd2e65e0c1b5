"""Building blocks of matching heads."""
from .center_pivot_conv4d import CenterPivotBlock, CenterPivotConv4d, query_major
from .hypercorrelation_learner import HypercorrelationLearner
from .n_way import compose_ways
from .positional_encoding import RasterPositionEncoding, sinusoidal_encoding
from .resized_conv import conv_resized
from .resizing import resize_adjoint, resize_aligned, resize_unaligned
from .shot_combination import SHOT_RULES, find_shot_rule
from .windows import Window, resize_window

__all__ = [
    'CenterPivotBlock', 'CenterPivotConv4d', 'HypercorrelationLearner', 'RasterPositionEncoding', 'SHOT_RULES',
    'Window', 'compose_ways', 'conv_resized', 'find_shot_rule', 'query_major', 'resize_adjoint', 'resize_aligned',
    'resize_unaligned', 'resize_window', 'sinusoidal_encoding'
]

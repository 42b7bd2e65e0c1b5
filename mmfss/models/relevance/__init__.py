"""Layer-wise relevance propagation: rules, record of the forward pass, walk through residual networks and VGG."""
from .chains import Chain, Layer, Residual, chain_of, layers_of
from .recorder import ForwardRecord, GraphCut, Recorded, record_forward
from .rules import (
    ConvShape,
    relprop_avgpool,
    relprop_batchnorm,
    relprop_batchnorm_alphabeta,
    relprop_conv,
    relprop_conv_alphabeta,
    relprop_conv_bounded,
    relprop_linear,
    relprop_linear_alphabeta,
    relprop_maxpool,
    safe_divide,
    split_residual,
)
from .walk import RelevanceWalk

__all__ = [
    'Chain', 'ConvShape', 'ForwardRecord', 'GraphCut', 'Layer', 'Recorded', 'RelevanceWalk', 'Residual', 'chain_of',
    'layers_of', 'record_forward', 'relprop_avgpool', 'relprop_batchnorm', 'relprop_batchnorm_alphabeta',
    'relprop_conv', 'relprop_conv_alphabeta', 'relprop_conv_bounded', 'relprop_linear', 'relprop_linear_alphabeta',
    'relprop_maxpool', 'safe_divide', 'split_residual'
]

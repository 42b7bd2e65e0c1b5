"""Building blocks of matching heads."""
from .affinity import Affinity, DotProductAffinity
from .n_way import compose_ways
from .positional_encoding import RasterPositionEncoding, sinusoidal_encoding

__all__ = ['Affinity', 'DotProductAffinity', 'RasterPositionEncoding', 'compose_ways', 'sinusoidal_encoding']

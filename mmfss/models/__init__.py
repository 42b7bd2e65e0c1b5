"""Models: features of any backbone, matching heads, segmentors."""
import mmpretrain.models  # noqa: F401  (registers the backbones that configs name as mmpretrain.X)

from .data_preprocessor import EpisodeDataPreProcessor
from .features import FeaturePyramid, FeatureReader
from .heads import CorrelationHead, DCAMAHead, HSNetHead, MatchingHead, StridedFCNHead
from .segmentors import FewShotSegmentor, SupportEncoding

__all__ = [
    'CorrelationHead', 'DCAMAHead', 'EpisodeDataPreProcessor', 'FeaturePyramid', 'FeatureReader', 'FewShotSegmentor',
    'HSNetHead', 'MatchingHead', 'StridedFCNHead', 'SupportEncoding'
]

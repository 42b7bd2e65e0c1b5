"""Models: features of any backbone, matching heads, segmentors."""
from .backbones import DeconvUNet, DeepLabResNet, EfficientNetLite, PackagedWeights
from .data_preprocessor import EpisodeDataPreProcessor
from .decode_heads import PrototypeHead, ScaleProtoGroupHead, ScaleProtoHead, StridedFCNHead
from .features import FeaturePyramid, FeatureReader
from .heads import (
    CorrelationHead,
    DCAMAHead,
    DMTNetHead,
    FewShotHead,
    FewShotScaleProtoHead,
    GFSAMHead,
    HSNetHead,
    INSID3Head,
    MatchingHead,
    PrototypeMatchingHead,
    PrototypeReader,
)
from .losses import JeffreysDiversityLoss, PrototypeLoss
from .segmentors import (
    BaseFewShotSegmentor,
    FewShotSegmentor,
    ScaleProtoSegmentor,
    SupportEncoding,
    check_training_free,
)

__all__ = [
    'BaseFewShotSegmentor', 'CorrelationHead', 'DCAMAHead', 'DMTNetHead', 'DeconvUNet', 'DeepLabResNet',
    'EfficientNetLite', 'EpisodeDataPreProcessor', 'FeaturePyramid', 'FeatureReader', 'FewShotHead',
    'FewShotScaleProtoHead', 'FewShotSegmentor', 'GFSAMHead', 'HSNetHead', 'INSID3Head', 'JeffreysDiversityLoss',
    'MatchingHead', 'PackagedWeights', 'PrototypeHead', 'PrototypeLoss', 'PrototypeMatchingHead', 'PrototypeReader',
    'ScaleProtoGroupHead', 'ScaleProtoHead', 'ScaleProtoSegmentor', 'StridedFCNHead', 'SupportEncoding',
    'check_training_free'
]

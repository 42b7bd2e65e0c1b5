"""Models: features of any backbone, matching heads, segmentors."""
from .backbones import DeconvUNet, DeepLabResNet, EfficientNetLite, PackagedWeights
from .data_preprocessor import EpisodeDataPreProcessor
from .decode_heads import PrototypeHead, ScaleProtoGroupHead, ScaleProtoHead, StridedFCNHead
from .features import FeaturePyramid, FeatureReader
from .heads import (
    AdditiveHead,
    CorrelationHead,
    DCAMAHead,
    DMTNetHead,
    FewShotHead,
    FewShotScaleProtoHead,
    HSNetHead,
    MatchingHead,
    PrototypeMatchingHead,
    PrototypeReader,
)
from .losses import JeffreysDiversityLoss, PrototypeLoss
from .segmentors import (
    BaseFewShotSegmentor,
    BlackBoxSegmentor,
    FewShotSegmentor,
    ScaleProtoSegmentor,
    SupportEncoding,
    check_training_free,
)

__all__ = [
    'AdditiveHead', 'BaseFewShotSegmentor', 'BlackBoxSegmentor', 'CorrelationHead', 'DCAMAHead', 'DMTNetHead',
    'DeconvUNet', 'DeepLabResNet', 'EfficientNetLite', 'EpisodeDataPreProcessor', 'FeaturePyramid', 'FeatureReader',
    'FewShotHead', 'FewShotScaleProtoHead', 'FewShotSegmentor', 'HSNetHead', 'JeffreysDiversityLoss', 'MatchingHead',
    'PackagedWeights', 'PrototypeHead', 'PrototypeLoss', 'PrototypeMatchingHead', 'PrototypeReader',
    'ScaleProtoGroupHead', 'ScaleProtoHead', 'ScaleProtoSegmentor', 'StridedFCNHead', 'SupportEncoding',
    'check_training_free'
]

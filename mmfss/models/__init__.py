"""Models: features of any backbone, matching heads, segmentors."""
from .backbones import DeconvUNet, DeepLabResNet, EfficientNetLite, PackagedWeights
from .cls_heads import PooledClassifier, VGGClassifier
from .data_preprocessor import EpisodeDataPreProcessor
from .decode_heads import (
    GradientInputHead,
    MirrorUNetHead,
    PrototypeHead,
    ScaleProtoGroupHead,
    ScaleProtoHead,
    StridedFCNHead,
    UnrolledLRPHead,
)
from .features import FeaturePyramid, FeatureReader
from .heads import (
    CorrelationHead,
    DCAMAHead,
    DMTNetHead,
    FewShotHead,
    FewShotScaleProtoHead,
    HSNetHead,
    MatchingHead,
    PrototypeReader,
)
from .losses import JeffreysDiversityLoss, PrototypeLoss
from .segmentors import (
    BaseFewShotSegmentor,
    FewShotSegmentor,
    ImageLabelSegmentor,
    MirrorUNetSegmentor,
    ScaleProtoSegmentor,
    SupportEncoding,
    UnrolledLRPSegmentor,
)

__all__ = [
    'BaseFewShotSegmentor', 'CorrelationHead', 'DCAMAHead', 'DMTNetHead', 'DeconvUNet', 'DeepLabResNet',
    'EfficientNetLite', 'EpisodeDataPreProcessor', 'FeaturePyramid', 'FeatureReader', 'FewShotHead',
    'FewShotScaleProtoHead', 'FewShotSegmentor', 'GradientInputHead', 'HSNetHead', 'ImageLabelSegmentor',
    'JeffreysDiversityLoss', 'MatchingHead', 'MirrorUNetHead', 'MirrorUNetSegmentor', 'PackagedWeights',
    'PooledClassifier', 'PrototypeHead', 'PrototypeLoss', 'PrototypeReader', 'ScaleProtoGroupHead',
    'ScaleProtoHead', 'ScaleProtoSegmentor', 'StridedFCNHead', 'SupportEncoding', 'UnrolledLRPHead',
    'UnrolledLRPSegmentor', 'VGGClassifier'
]

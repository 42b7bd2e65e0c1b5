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
    AdditiveHead,
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
    BlackBoxSegmentor,
    DiffewsSegmentor,
    FewShotSegmentor,
    ImageLabelSegmentor,
    LatentAutoencoder,
    MirrorUNetSegmentor,
    ScaleProtoSegmentor,
    SupportEncoding,
    UnrolledLRPSegmentor,
    check_training_free,
)

__all__ = [
    'AdditiveHead', 'BaseFewShotSegmentor', 'BlackBoxSegmentor', 'CorrelationHead', 'DCAMAHead', 'DMTNetHead',
    'DeconvUNet', 'DeepLabResNet', 'DiffewsSegmentor', 'EfficientNetLite', 'EpisodeDataPreProcessor', 'FeaturePyramid',
    'FeatureReader', 'FewShotHead', 'FewShotScaleProtoHead', 'FewShotSegmentor', 'GFSAMHead', 'GradientInputHead',
    'HSNetHead', 'INSID3Head', 'ImageLabelSegmentor', 'JeffreysDiversityLoss', 'LatentAutoencoder', 'MatchingHead',
    'MirrorUNetHead', 'MirrorUNetSegmentor', 'PackagedWeights', 'PooledClassifier', 'PrototypeHead', 'PrototypeLoss',
    'PrototypeMatchingHead', 'PrototypeReader', 'ScaleProtoGroupHead', 'ScaleProtoHead', 'ScaleProtoSegmentor',
    'StridedFCNHead', 'SupportEncoding', 'UnrolledLRPHead', 'UnrolledLRPSegmentor', 'VGGClassifier',
    'check_training_free'
]

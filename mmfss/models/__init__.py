"""Models: features of any backbone, matching heads, segmentors."""
from mmfss.utils.mmpretrain_multimodal import import_multimodal_models
from .backbones import DeconvUNet, DeepLabResNet
from .data_preprocessor import EpisodeDataPreProcessor
from .decode_heads import PrototypeHead, ScaleProtoGroupHead, ScaleProtoHead, StridedFCNHead
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
    DiffewsSegmentor,
    FewShotSegmentor,
    LatentAutoencoder,
    ScaleProtoSegmentor,
    SupportEncoding,
)

import_multimodal_models()

__all__ = [
    'BaseFewShotSegmentor', 'CorrelationHead', 'DCAMAHead', 'DMTNetHead', 'DeconvUNet', 'DeepLabResNet',
    'DiffewsSegmentor', 'EpisodeDataPreProcessor', 'FeaturePyramid', 'FeatureReader', 'FewShotHead',
    'FewShotScaleProtoHead', 'FewShotSegmentor', 'HSNetHead', 'JeffreysDiversityLoss', 'LatentAutoencoder',
    'MatchingHead', 'PrototypeHead', 'PrototypeLoss', 'PrototypeReader', 'ScaleProtoGroupHead', 'ScaleProtoHead',
    'ScaleProtoSegmentor', 'StridedFCNHead', 'SupportEncoding'
]

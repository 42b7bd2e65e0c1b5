"""Intermediate features of frozen or trained backbones."""
from .convolutional import ConvNeXtFeatures, InvertedResidualFeatures, ResNetFeatures, VGGFeatures
from .locks import lock_of
from .modules import ModuleFeatures
from .pyramid import FeaturePyramid
from .reader import FeatureReader, build_feature_reader
from .timm_features import TIMMFeatures
from .transformers import SwinFeatures, ViTFeatures

__all__ = [
    'ConvNeXtFeatures', 'FeaturePyramid', 'FeatureReader', 'InvertedResidualFeatures', 'ModuleFeatures',
    'ResNetFeatures', 'SwinFeatures', 'TIMMFeatures', 'VGGFeatures', 'ViTFeatures', 'build_feature_reader', 'lock_of'
]

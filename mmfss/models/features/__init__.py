"""Intermediate features of frozen or trained backbones."""
from .convolutional import ConvNeXtFeatures, InvertedResidualFeatures, ResNetFeatures, VGGFeatures
from .debiased import DebiasedFeatures
from .locks import lock_of
from .modules import ModuleFeatures
from .pyramid import FeaturePyramid
from .reader import FeatureReader, build_feature_reader
from .remembered import RememberedFeatures
from .timm_features import TIMMFeatures
from .transformers import SwinFeatures, ViTFeatures
from .wrapped import ResizedFeatures

__all__ = [
    'ConvNeXtFeatures', 'DebiasedFeatures', 'FeaturePyramid', 'FeatureReader', 'InvertedResidualFeatures',
    'ModuleFeatures', 'RememberedFeatures', 'ResNetFeatures', 'ResizedFeatures', 'SwinFeatures', 'TIMMFeatures',
    'VGGFeatures', 'ViTFeatures', 'build_feature_reader', 'lock_of'
]

"""Classifiers of whole images on top of a backbone, layer by layer."""
from .linear import PooledClassifier, VGGClassifier

__all__ = ['PooledClassifier', 'VGGClassifier']

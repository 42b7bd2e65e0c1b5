"""Backbones that differ from MMSegmentation's in a detail."""
from .deeplab_resnet import DeepLabResNet

__all__ = ['DeepLabResNet']

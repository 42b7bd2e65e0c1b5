"""Segmentors."""
from .few_shot_segmentor import FewShotSegmentor, SupportEncoding
from .scaleproto_segmentor import ScaleProtoSegmentor

__all__ = ['FewShotSegmentor', 'ScaleProtoSegmentor', 'SupportEncoding']

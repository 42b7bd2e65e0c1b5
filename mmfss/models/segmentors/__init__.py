"""Segmentors."""
from .few_shot_segmentor import FewShotSegmentor, SupportEncoding

__all__ = ['FewShotSegmentor', 'SupportEncoding']

"""Segmentors."""
from .base_few_shot_segmentor import BaseFewShotSegmentor, SupportEncoding, check_training_free
from .black_box_segmentor import BlackBoxSegmentor
from .few_shot_segmentor import FewShotSegmentor
from .scaleproto_segmentor import ScaleProtoSegmentor

__all__ = [
    'BaseFewShotSegmentor', 'BlackBoxSegmentor', 'FewShotSegmentor', 'ScaleProtoSegmentor', 'SupportEncoding',
    'check_training_free'
]

"""Segmentors."""
from .base_few_shot_segmentor import BaseFewShotSegmentor, SupportEncoding, check_training_free
from .few_shot_segmentor import FewShotSegmentor
from .sam_refine import SAMRefine
from .scaleproto_segmentor import ScaleProtoSegmentor

__all__ = [
    'BaseFewShotSegmentor', 'FewShotSegmentor', 'SAMRefine', 'ScaleProtoSegmentor', 'SupportEncoding',
    'check_training_free'
]

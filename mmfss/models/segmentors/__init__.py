"""Segmentors."""
from .base_few_shot_segmentor import BaseFewShotSegmentor, SupportEncoding
from .few_shot_segmentor import FewShotSegmentor
from .image_label_segmentor import ImageLabelSegmentor
from .mirror_unet_segmentor import MirrorUNetSegmentor
from .scaleproto_segmentor import ScaleProtoSegmentor
from .unrolled_lrp_segmentor import UnrolledLRPSegmentor

__all__ = [
    'BaseFewShotSegmentor', 'FewShotSegmentor', 'ImageLabelSegmentor', 'MirrorUNetSegmentor', 'ScaleProtoSegmentor',
    'SupportEncoding', 'UnrolledLRPSegmentor'
]

"""Segmentors."""
from .base_few_shot_segmentor import BaseFewShotSegmentor, SupportEncoding
from .diffews_segmentor import DiffewsSegmentor
from .few_shot_segmentor import FewShotSegmentor
from .latent_autoencoder import LatentAutoencoder
from .scaleproto_segmentor import ScaleProtoSegmentor

__all__ = [
    'BaseFewShotSegmentor', 'DiffewsSegmentor', 'FewShotSegmentor', 'LatentAutoencoder', 'ScaleProtoSegmentor',
    'SupportEncoding'
]

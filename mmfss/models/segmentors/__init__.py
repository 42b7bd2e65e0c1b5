"""Segmentors."""
from .base_few_shot_segmentor import BaseFewShotSegmentor, SupportEncoding, check_training_free
from .black_box_segmentor import BlackBoxSegmentor
from .diffews_segmentor import DiffewsSegmentor
from .few_shot_segmentor import FewShotSegmentor
from .image_label_segmentor import ImageLabelSegmentor
from .latent_autoencoder import LatentAutoencoder
from .mirror_unet_segmentor import MirrorUNetSegmentor
from .presence_judge import PresenceJudge
from .sam_refine import SAMRefine
from .scaleproto_segmentor import ScaleProtoSegmentor
from .unrolled_lrp_segmentor import IterativeDataParallel, UnrolledLRPSegmentor

__all__ = [
    'BaseFewShotSegmentor', 'BlackBoxSegmentor', 'DiffewsSegmentor', 'FewShotSegmentor', 'ImageLabelSegmentor',
    'IterativeDataParallel', 'LatentAutoencoder', 'MirrorUNetSegmentor', 'PresenceJudge', 'SAMRefine',
    'ScaleProtoSegmentor',
    'SupportEncoding', 'UnrolledLRPSegmentor', 'check_training_free'
]

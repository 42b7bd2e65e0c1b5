"""A real DCAMA on a very small backbone."""
import torch
from mmengine.config import ConfigDict

from mmfss import register_all_modules
from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS

TINY_MODEL = ConfigDict(
    type='FewShotSegmentor',
    data_preprocessor=dict(type='EpisodeDataPreProcessor'),
    backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8),
    head=dict(type='DCAMAHead'),
    frozen_backbone=True)


def build_tiny_model(seed: int = 0) -> FewShotSegmentor:
    """Build it in eval mode, with random weights that depend on the seed alone."""
    register_all_modules(init_default_scope=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MODELS.build(TINY_MODEL)
    model.eval()
    return model

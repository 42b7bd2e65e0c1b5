"""INSID3 on a very small backbone: 16 channels at stride 8."""
from typing import Any

import torch

from mmfss import register_all_modules
from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS
from tests.tiny.model import TINY_MODEL


def build_insid3(features: dict[str, Any] | None = None, head: dict[str, Any] | None = None) -> FewShotSegmentor:
    """Build it in eval mode, with random weights."""
    register_all_modules(init_default_scope=True)
    reader = dict(type='ResNetFeatures', indices=[3])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS.build({
            **TINY_MODEL,
            'features': dict(type='DebiasedFeatures', reader=reader, num_components=2) | (features or {}),
            'head': dict(type='INSID3Head') | (head or {}),
        }).eval()

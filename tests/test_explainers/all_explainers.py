"""Every explainer, in a cheap setting, with a small model that it can explain."""
from functools import cache

import torch

from mmfss.explainers import Explainer
from mmfss.models import FewShotSegmentor
from mmfss.registry import EXPLAINERS, MODELS
from tests.tiny.model import TINY_MODEL, build_tiny_model

EXPLAINERS.import_from_location()
NAMES = sorted(EXPLAINERS.module_dict)
OPTIONS = dict(
    integrated_gradients=dict(n_steps=2), gradient_shap=dict(n_samples=2, n_baselines=3),
    feature_ablation=dict(n_segments=10), occlusion=dict(sliding_window=32),
    lime=dict(n_samples=6, n_segments=10, alpha=1e-6), guided_ig=dict(x_steps=2), blur_ig=dict(steps=2),
    xrai=dict(n_steps=2))
PROTOTYPE_HEAD = dict(type='FewShotScaleProtoHead', scale_channels=8, prototypes_per_scale=(2, 3), num_groups=(2, 2),
                      num_iterations=3, decoder_channels=8)
HEADS = dict(prototypes=PROTOTYPE_HEAD, true_attribution=dict(type='PrototypeMatchingHead'))


def build_explainer(name: str) -> Explainer:
    return EXPLAINERS.build({'type': name, **OPTIONS.get(name, {})})


def build_model(name: str) -> FewShotSegmentor:
    """A model that the explainer of this name can explain."""
    model = build_tiny_model(seed=1)
    if name not in HEADS:
        return model
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return MODELS.build({**TINY_MODEL, 'head': HEADS[name]}).eval()


@cache
def _shared(name: str) -> FewShotSegmentor:
    return build_model(name)


def shared_model(name: str) -> FewShotSegmentor:
    """The same model for all explainers that can explain it; to be left as it is."""
    return _shared(name if name in HEADS else '')

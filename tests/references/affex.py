"""Reference numbers of the official AffEx implementation, under ``tests/data/affex``, and their episodes."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmfss import register_all_modules
from mmfss.converters.published_weights import dcama_head_to_mmfss, resnet_to_mm
from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS
from mmfss.structures import Episode
from tests.references import dcama as dcama_reference
from tests.references.seeded import seeded_image, seeded_mask, seeded_state_dict

DATA = Path(__file__).parents[1] / 'data' / 'affex'
GAINS = (
    ('feature_extractor.*bn3.weight', 0.45),
    ('feature_extractor.*downsample.1.weight', 0.9),
    ('feature_extractor.*conv*.weight', 1.41),
    ('model.DCAMA_blocks.*.linears.*.weight', 2.0),
    ('model.mixer*.weight', 1.41),
    ('model.conv[1-5].[036].weight', 1.41),
)
SIDE = 128
COARSE_FIRST = (10, 11, 12, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3)
"""Layers of DCAMA with ResNet-50 in the order in which the reference lists their weights: 1/32, 1/16, 1/8."""


@dataclass(frozen=True)
class ReferenceEpisode:
    """An episode of the reference, which is drawn, not stored."""
    name: str
    seed: int
    num_ways: int
    num_shots: int

    def episode(self) -> Episode:
        """Images (128, 128)."""
        count = self.num_ways * self.num_shots
        images = seeded_image(f'{self.name}/images', (1, 1 + count, 3, SIDE, SIDE), self.seed)[0]
        masks = seeded_mask(f'{self.name}/support_masks', (count, SIDE, SIDE), self.seed)
        target = np.zeros((SIDE, SIDE), np.int64)
        objects = seeded_mask(f'{self.name}/query_mask', (self.num_ways, SIDE, SIDE), self.seed)
        for number, mask in enumerate(objects, start=1):
            target[mask > 0] = number
        ways = (self.num_ways, self.num_shots)
        return Episode(
            torch.from_numpy(images[0]),
            torch.from_numpy(images[1:]).unflatten(0, ways),
            torch.from_numpy(masks).unflatten(0, ways), torch.from_numpy(target))

    def numbers(self) -> dict[str, np.ndarray]:
        """What the reference computed."""
        return dict(np.load(DATA / f'{self.name}.npz'))

    def load_weights(self, model: FewShotSegmentor) -> None:
        """Draw the weights of this episode's model."""
        drawn = seeded_state_dict(dcama_reference.load('manifest_resnet50.json.gz'), self.seed, GAINS)
        parts: dict[str, dict] = {'feature_extractor': {}, 'model': {}}
        for name, value in drawn.items():
            part, rest = name.split('.', 1)
            parts[part][rest] = torch.from_numpy(value)
        model.backbone.load_state_dict(resnet_to_mm(parts['feature_extractor']), strict=False)
        model.head.load_state_dict(dcama_head_to_mmfss(parts['model']))


EPISODES = (
    ReferenceEpisode('dcama_1w1s', 0, 1, 1),
    ReferenceEpisode('dcama_1w3s', 1, 1, 3),
    ReferenceEpisode('dcama_2w1s', 2, 2, 1),
)


def build_reference_model() -> FewShotSegmentor:
    """DCAMA on a ResNet-50, weights as they happen to be."""
    register_all_modules(init_default_scope=True)
    model = MODELS.build(
        dict(type='FewShotSegmentor', backbone=dict(type='mmpretrain.ResNet', depth=50), head=dict(type='DCAMAHead')))
    return model.eval()

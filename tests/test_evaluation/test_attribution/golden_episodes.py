"""Episodes whose attribution metrics were computed with the reference implementation of AffEx."""
import gzip
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS
from mmfss.structures import Episode
from mmfss.utils.weight_conversion import convert_dcama
from tests.seeded import seeded_image, seeded_mask, seeded_state_dict

DATA = Path(__file__).parents[2] / 'data'
SIDE = 128
EPISODES = dict(dcama_1w1s=(1, 0), dcama_1w3s=(3, 1))
"""Shots and seed of each one-way episode."""
GAINS = (('feature_extractor.*bn3.weight', 0.45), ('feature_extractor.*downsample.1.weight', 0.9),
         ('feature_extractor.*conv*.weight', 1.41), ('model.DCAMA_blocks.*.linears.*.weight', 2.0),
         ('model.mixer*.weight', 1.41), ('model.conv[1-5].[036].weight', 1.41))


def build_model(name: str) -> FewShotSegmentor:
    """DCAMA on ResNet-50 with the weights of an episode."""
    manifest = json.loads(gzip.decompress((DATA / 'dcama' / 'manifest_resnet50.json.gz').read_bytes()))
    arrays = seeded_state_dict(manifest, EPISODES[name][1], GAINS)
    weights, _ = convert_dcama({key: torch.from_numpy(array) for key, array in arrays.items()})
    model = MODELS.build(dict(
        type='FewShotSegmentor', backbone=dict(type='mmpretrain.ResNet', depth=50), head=dict(type='DCAMAHead')))
    missing = set(model.state_dict()) - set(weights)
    assert all(key.endswith('num_batches_tracked') or 'data_preprocessor' in key for key in missing)
    model.load_state_dict(weights, strict=False)
    return model.eval()


def build_episode(name: str, target: np.ndarray) -> Episode:
    """Query, supports and masks of an episode; the labels of the metrics are stored with them."""
    shots, seed = EPISODES[name]
    images = torch.from_numpy(seeded_image(f'{name}/images', (1, 1 + shots, 3, SIDE, SIDE), seed))[0]
    masks = torch.from_numpy(seeded_mask(f'{name}/support_masks', (shots, SIDE, SIDE), seed))
    return Episode(images[0], images[None, 1:], masks[None], torch.from_numpy(target).long())


def true_region(name: str) -> Tensor:
    """Pixels of the query's object, (1, S, S)."""
    return torch.from_numpy(seeded_mask(f'{name}/query_mask', (1, SIDE, SIDE), EPISODES[name][1])) > 0


def explanation(name: str) -> Tensor:
    """The explanation that was scored, (1, K, S, S)."""
    shots, seed = EPISODES[name]
    return torch.from_numpy(seeded_image(f'{name}/fixed_explanation', (1, shots, SIDE, SIDE), seed))

"""Reference numbers of the official DCAMA implementation, under ``tests/data/dcama``, and the inputs they belong to."""
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmfss.models import FeaturePyramid
from tests.references.seeded import seeded_image, seeded_mask, seeded_state_dict

DATA = Path(__file__).parents[1] / 'data' / 'dcama'
# The small head: channels and sides of its levels, number of layers of each.
HEAD_CHANNELS = [[16] * 2, [32] * 2, [64] * 3, [128] * 2]
HEAD_SIDES = (48, 24, 12, 6)
HEAD_SEED, MODEL_SEED = 11, 26
FLIPPED_PIXELS = 1e-3
"""Share of pixels whose class may differ: logits are equal to about 1e-5, some are closer to each other than that."""


def load(name: str) -> dict[str, Any]:
    if name.endswith('.npz'):
        return dict(np.load(DATA / name))
    if name.endswith('.gz'):
        return json.loads(gzip.decompress((DATA / name).read_bytes()))
    return json.loads((DATA / name).read_text())


def official_state_dict(model: str) -> dict[str, Tensor]:
    """Weights under official names: 'head', 'resnet50', 'resnet101' or 'swin'."""
    arrays = seeded_state_dict(
        load(f'manifest_{model}.json.gz'), HEAD_SEED if model == 'head' else MODEL_SEED, load('gains.json')[model])
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def head_inputs(batch: int, shots: int) -> tuple[FeaturePyramid, FeaturePyramid, Tensor]:
    """Query features of B episodes, features of their B * K supports, and masks (B, K, 192, 192)."""
    masks = stack_shots(lambda k: seeded_mask(f'mask{k}', (batch, 192, 192), HEAD_SEED), shots)
    return _head_pyramid('query', batch), _shots_pyramid(batch, shots), masks


def episodes(batch: int, shots: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images and masks of B one-way episodes: (B, 3, S, S), (B, 1, K, 3, S, S), (B, 1, K, S, S)."""
    shape = (batch, 3, side, side)
    query = torch.from_numpy(seeded_image('query', shape, MODEL_SEED))
    support = stack_shots(lambda k: seeded_image(f'support{k}', shape, MODEL_SEED), shots)
    masks = stack_shots(lambda k: seeded_mask(f'mask{k}', (batch, side, side), MODEL_SEED), shots)
    return query, support.unsqueeze(1), masks.unsqueeze(1)


def stack_shots(draw: Any, shots: int) -> Tensor:
    return torch.stack([torch.from_numpy(draw(k)) for k in range(shots)], dim=1)


def _head_pyramid(name: str, batch: int) -> FeaturePyramid:
    levels, index = [], 0
    for channels, side in zip(HEAD_CHANNELS, HEAD_SIDES):
        maps = [seeded_image(f'{name}.{index + i}', (batch, c, side, side), HEAD_SEED) for i, c in enumerate(channels)]
        levels.append(tuple(torch.from_numpy(feature) for feature in maps))
        index += len(channels)
    return FeaturePyramid(tuple(levels))


def _shots_pyramid(batch: int, shots: int) -> FeaturePyramid:
    pyramids = [_head_pyramid(f'support{k}', batch) for k in range(shots)]
    return FeaturePyramid(
        tuple(tuple(torch.stack(maps, dim=1).flatten(0, 1) for maps in zip(*levels)) for levels in zip(*pyramids)))


def assert_logits(logits: Tensor, reference: dict[str, Any], atol: float = 1e-4) -> None:
    """Compare logits (B, 2, S, S) with the stored excerpt, moments and classes."""
    logits = logits.detach()
    np.testing.assert_allclose(logits[:, :, ::2, ::2].numpy(), reference['logits_sub'], rtol=0, atol=atol)
    pixels = logits.double().flatten(2)
    np.testing.assert_allclose(pixels.mean(-1).numpy(), reference['logits_mean'], rtol=0, atol=atol)
    np.testing.assert_allclose(pixels.std(-1).numpy(), reference['logits_std'], rtol=0, atol=atol)
    classes = np.unpackbits(reference['argmax_bits'], axis=1).reshape(len(logits), *logits.shape[-2:])
    assert (logits.argmax(1).numpy() != classes).mean() <= FLIPPED_PIXELS


def assert_coarse(coarse: list[Tensor], reference: dict[str, Any], atol: float = 1e-5) -> None:
    """Compare the coarse masks (B, 1, h, w) of all attended layers."""
    assert len(coarse) == sum(key.startswith('coarse') for key in reference)
    for index, mask in enumerate(coarse):
        np.testing.assert_allclose(
            mask.detach().squeeze(1).numpy(), reference[f'coarse{index:02d}'], rtol=0, atol=atol,
            err_msg=f'layer {index}')


def assert_features(pyramid: FeaturePyramid, reference: dict[str, Any], atol: float) -> None:
    """Compare a sample and the moments of every map."""
    features = [feature for level in pyramid for feature in level]
    assert len(features) == reference['feat_sample'].shape[1]
    for index, feature in enumerate(features):
        flat = feature.flatten(1)
        step = flat.shape[1] // 64 - 1
        moments = torch.stack((flat.double().mean(1), flat.double().std(1)), dim=-1)
        message = f'layer {index}'
        np.testing.assert_allclose(
            flat[:, ::step][:, :64].numpy(), reference['feat_sample'][:, index], rtol=0, atol=atol, err_msg=message)
        np.testing.assert_allclose(
            moments.numpy(), reference['feat_stats'][:, index], rtol=0, atol=atol, err_msg=message)

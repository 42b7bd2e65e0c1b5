"""Heads and inputs of the reference numbers in ``tests/data/scaleprotoseg``, by the rules that made them."""
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmfss import register_all_modules
from mmfss.models.decode_heads import PrototypeHead
from mmfss.models.layers.simplex import project_to_simplex
from mmfss.registry import MODELS
from tests.references.seeded import seeded_array, seeded_image

DATA = Path(__file__).parents[1] / 'data/scaleprotoseg'
SEED, S, D, C, M, K, B, H, W, N = 101, 4, 8, 5, 2, 3, 2, 9, 11, 6
P = S * C * M
REGULARIZERS = [dict(type='JeffreysDiversityLoss'), dict(type='OffClassL1Loss')]
GROUP_REGULARIZERS = [dict(type='OffClassL1Loss', loss_weight=1e-3), dict(type='GroupEntropyLoss')]


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f'{name}.npz') as archive:
        return dict(archive)


def raw_features(name: str, *shape: int) -> Tensor:
    """Features before the sigmoid."""
    return torch.from_numpy(1.5 * seeded_image(name, shape, SEED))


def drawn_prototypes() -> Tensor:
    """Prototypes in the unit cube, (P, D)."""
    drawn = seeded_array('prototype_vectors', (P, D, 1, 1), SEED).astype(np.float64)
    return torch.from_numpy((1 / (1 + np.exp(-drawn))).astype(np.float32)).flatten(1)


def build_head(**changes) -> PrototypeHead:
    register_all_modules(init_default_scope=True)
    cfg = dict(type='ScaleProtoHead', in_channels=3, num_classes=C, scale_channels=D, prototypes_per_scale=M,
               regularizers=REGULARIZERS)
    return MODELS.build({**cfg, **changes})


def stage1_head(**changes) -> PrototypeHead:
    """The head of stage1_forward and stage1_losses."""
    head = build_head(**changes)
    noise = torch.from_numpy(seeded_array('last_layer.weight', (C, P), SEED))
    head.prototypes.data = torch.from_numpy(golden('stage1_forward')['prototype_vectors']).flatten(1)
    head.classifier.weight.data += 0.1 * noise
    return head


def scale_ids(ranges: np.ndarray) -> Tensor:
    return torch.cat([torch.full((end - start, ), scale) for scale, (start, end) in enumerate(ranges)])


def stage2_head(**changes) -> PrototypeHead:
    """The head of stage2, on the pushed prototypes of push."""
    pushed, stage2 = golden('push'), golden('stage2')
    head = build_head(type='ScaleProtoGroupHead', num_groups=K, regularizers=GROUP_REGULARIZERS, **changes)
    head.set_layout(torch.from_numpy(pushed['prototype_class_after']).long(), scale_ids(pushed['scale_ranges_after']))
    head.prototypes.data = torch.from_numpy(stage2['prototype_vectors']).flatten(1)
    rows = []
    for k, n in enumerate(stage2['group_sizes']):
        drawn = torch.from_numpy(seeded_array(f'group_projection.{k}.weight', (K, n), SEED))
        rows.append(project_to_simplex(0.25 * drawn + 1 / float(n)))
    head.groups.data = padded(head, torch.cat([row.flatten() for row in rows]).numpy())
    noise = seeded_array('last_layer_group.weight', (C, len(stage2['group_class'])), SEED)
    head.group_classifier.weight.data += 0.1 * torch.from_numpy(noise)
    return head


def padded(head: PrototypeHead, flat: np.ndarray) -> Tensor:
    """Arrays (K, n_c) of the classes with prototypes, one after the other, as one tensor (C, K, n)."""
    out, start = torch.zeros_like(head.groups), 0
    for class_id, count in enumerate((head.group_members >= 0).sum(1).tolist()):
        out[class_id, :, :count] = torch.from_numpy(flat[start:start + K * count]).view(K, count)
        start += K * count
    assert start == len(flat)
    return out

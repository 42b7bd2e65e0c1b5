"""Mode ``cosine`` of the prototype head against numbers of the PANet-style head of AffEx's code."""
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmfss.models import FeaturePyramid, PrototypeMatchingHead
from mmfss.models.layers import resize_aligned, resize_unaligned
from tests.references.prototype_inputs import CHANNELS, panet_adapters, panet_inputs

DATA = Path(__file__).parents[2] / 'data/prototype/panet'
CASES = json.loads((DATA / 'cases.json').read_text())


@cache
def build(name: str) -> tuple[PrototypeMatchingHead, FeaturePyramid, tuple, dict[str, Any]]:
    """Head, features of the query, encoding of the supports, and all inputs."""
    case = CASES[name]
    head = PrototypeMatchingHead([[width] for width in CHANNELS], 'cosine', temperature=case['T'])
    for adapter, (weight, bias) in zip(head.adapters, panet_adapters(case['wseed'])):
        adapter.load_state_dict(dict(weight=torch.from_numpy(weight), bias=torch.from_numpy(bias)))
    inputs = panet_inputs(case)
    query = FeaturePyramid(tuple((torch.from_numpy(x), ) for x in inputs['query']))
    support = FeaturePyramid(tuple((torch.from_numpy(x).flatten(0, 1), ) for x in inputs['support']))
    return head, query, head.encode_support(support, torch.from_numpy(inputs['support_masks'])), inputs


def close(found: Tensor, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize('name', CASES)
def test_forward(name: str) -> None:
    golden, (head, query, encoding, _), side = np.load(DATA / f'{name}.npz'), build(name), CASES[name]['S']
    affinities = list(head.match(query, encoding))
    for level, (affinity, prototypes) in enumerate(zip(affinities, encoding)):
        close(torch.nn.functional.normalize(prototypes.vectors[:, :, 0], dim=-1), golden[f'proto{level}'], 1e-5)
        maps = head.temperature * head.aggregate(affinity, encoding)[:, :, 0]
        close(resize_aligned(maps, query.sizes[0]), golden[f'logits{level}'], 5e-5)
    close(affinities[2].dense(), golden['affinity2'], 5e-5)
    for level in (0, 1):
        close(affinities[level].dense().mean(1), golden[f'affinity{level}_mean'], 5e-5)
    logits = head(query, encoding)
    close(logits, golden['logits'], 5e-5)
    full = resize_aligned(logits, (side, side))
    close(full[..., ::5, ::7], golden['logits_full'], 5e-5)
    np.testing.assert_array_equal(full.argmax(1), golden['pred'])


@pytest.mark.parametrize('name', CASES)
def test_support_cells(name: str) -> None:
    golden, (_, _, encoding, _) = np.load(DATA / f'{name}.npz'), build(name)
    for level in (0, 2):
        prototypes = encoding[level]
        direction = torch.nn.functional.normalize(prototypes.vectors[:, 1, 0], dim=-1)
        close((prototypes.cells @ direction[..., None])[..., 0].unflatten(1, prototypes.size),
              golden[f'readout{level}'], 1e-5)


@pytest.mark.parametrize('name', CASES)
def test_level_effects(name: str) -> None:
    golden, (head, query, encoding, inputs) = np.load(DATA / f'{name}.npz'), build(name)
    region = torch.from_numpy(inputs['region']).bool()
    evidence = [head.aggregate(affinity, encoding) for affinity in head.match(query, encoding)]
    for level, maps in enumerate(evidence):
        foreground = resize_unaligned(resize_aligned(head.temperature * maps[:, 1:, 0], query.sizes[0]),
                                      region.shape[-2:])[:, 0]
        mean = (foreground * region).sum((1, 2)) / region.sum((1, 2))
        close(mean, golden['level_fg_mean'][:, level], 1e-4)
    effects = head.layer_effects(evidence, query, encoding, region)
    expected = torch.from_numpy(golden['level_effect'])
    there = ~expected.isnan().any(1)  # 0/0 in the reference where no support has a mask
    close((effects / effects.sum(1, keepdim=True))[there], expected[there].numpy(), 1e-4)
    assert (effects[~there] == 0).all()


@pytest.mark.parametrize('name', CASES)
def test_loss_and_gradients(name: str) -> None:
    golden, (head, query, _, inputs), side = np.load(DATA / f'{name}.npz'), build(name), CASES[name]['S']
    support = FeaturePyramid(tuple((torch.from_numpy(x).flatten(0, 1), ) for x in inputs['support']))
    encoding = head.encode_support(support, torch.from_numpy(inputs['support_masks']))
    target = torch.from_numpy(inputs['query_mask']).long()
    logits, own = head.forward_train(query, encoding, target)
    assert own == {}
    if 'loss_other' in golden:
        rows, columns = (np.arange(n) * side // n for n in CASES[name]['G'])
        other = target[:, rows][:, :, columns]
        close(head.loss(resize_aligned(logits, other.shape[-2:]), other)['loss_ce'], golden['loss_other'], 1e-5)
    loss = head.loss(resize_aligned(logits, (side, side)), target)['loss_ce']
    close(loss, golden['loss'], 1e-5)
    head.zero_grad()
    loss.backward()
    gradients = dict(grad_T=head.temperature.grad)
    for level, adapter in enumerate(head.adapters):
        gradients[f'grad_weight{level}'] = adapter.weight.grad[:, :, 0, 0]
        gradients[f'grad_bias{level}'] = adapter.bias.grad
    for key, found in gradients.items():
        close(found, golden[key], 1e-4 * np.abs(golden[key]).max())

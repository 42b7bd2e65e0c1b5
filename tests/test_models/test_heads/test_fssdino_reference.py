"""Mode ``gram`` of the prototype head against numbers of the published FSSDINO implementation."""
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmfss.models import FeaturePyramid, PrototypeMatchingHead
from mmfss.models.layers.clustering import cosine_kmeans
from tests.references.prototype_inputs import PATCH, FSSDINOInputs
from tests.references.seeded import seeded_array

DATA = Path(__file__).parents[2] / 'data/prototype/fssdino'
CASES = json.loads((DATA / 'cases.json').read_text())


@cache
def drawn(name: str) -> FSSDINOInputs:
    return FSSDINOInputs(CASES[name])


def build(name: str) -> PrototypeMatchingHead:
    """The published settings; the clustering begins with random cells."""
    return PrototypeMatchingHead([[CASES[name]['C']]], 'gram', temperature=1., upsample=PATCH, start='random').eval()


def probe(maps: np.ndarray) -> np.ndarray:
    width = maps.shape[-3]
    return np.einsum('...cyx,c->...yx', maps, seeded_array('probe.input', (width, ))) / np.sqrt(width)


@pytest.mark.parametrize('name', CASES)
def test_equals_the_reference(name: str) -> None:
    golden, inputs, head = np.load(DATA / f'{name}.npz'), drawn(name), build(name)
    np.testing.assert_allclose(probe(inputs.query), golden['query_input_probe'], rtol=0, atol=1e-5)
    np.testing.assert_allclose(probe(inputs.supports), golden['support_input_probe'], rtol=0, atol=1e-5)

    # All classes at once, as the reference treats them
    masks, supports = torch.from_numpy(inputs.masks).float(), torch.from_numpy(inputs.supports)
    grid = supports.shape[-2:]
    weights = torch.stack([head.cell_weights(masks[None, :, label], grid) for label in range(masks.shape[1])], dim=1)
    np.testing.assert_array_equal(weights[0].unflatten(1, (-1, *grid)).transpose(0, 1), golden['grid_masks'])
    np.testing.assert_array_equal(weights[0].sum(1), golden['cells'])
    cells = supports.flatten(2).transpose(1, 2).flatten(0, 1)[None]
    np.random.seed(CASES[name]['kseed'])
    classes = head.encode_classes(cells, weights, (len(supports), *grid))
    query = FeaturePyramid(((torch.from_numpy(inputs.query)[None], ), ))
    affinity, = head.match(query, (classes, ))
    stacks = head.aggregate(affinity, (classes, ))
    for label, count in enumerate(golden['cells']):
        exists = classes.exists[0, label]
        assert exists.sum() == min(count, 5)
        if count:
            close(classes.vectors[0, label, exists], golden[f'prototypes_{label}'])
            kept = torch.cat((stacks[0, label, :-1][exists], stacks[0, label, -1:]))
            close(kept, golden[f'stack_{label}'])
    scores = head.class_scores(stacks, classes)[0]
    expected = golden['score_8']
    close(scores[:, ::8, ::8].masked_fill(scores[:, ::8, ::8] < -50, -torch.inf), expected)
    close(scores[:, 8::16, 8::16].masked_fill(scores[:, 8::16, 8::16] < -50, -torch.inf), golden['score_cells'])
    wrong = (scores.argmax(0).numpy() != golden['pred']).sum()
    assert wrong <= (10 if name == 'few_n2_k1' else 0)


@pytest.mark.parametrize('name', [name for name, case in CASES.items() if case['ways'] == 1])
def test_one_way_through_the_contract(name: str) -> None:
    inputs, head = drawn(name), build(name)
    support, query = (FeaturePyramid(((torch.from_numpy(x), ), )) for x in (inputs.supports, inputs.query[None]))
    np.random.seed(CASES[name]['kseed'])
    encoding = head.encode_support(support, torch.from_numpy(inputs.masks[None, :, 1]).float())
    prediction = head(query, encoding)[0].argmax(0)
    np.testing.assert_array_equal(prediction, np.load(DATA / f'{name}.npz')['pred'])


@pytest.mark.parametrize('name', CASES)
def test_clusters_of_the_reference(name: str) -> None:
    golden, inputs = np.load(DATA / f'{name}.npz'), drawn(name)
    cells = torch.from_numpy(inputs.supports).flatten(2).transpose(1, 2).flatten(0, 1)
    for label in range(len(golden['cells'])):
        if f'start_{label}' not in golden:
            continue
        masks = torch.from_numpy(inputs.masks[:, label:label + 1]).float()
        own = cells[F.interpolate(masks, scale_factor=1 / PATCH).flatten() > 0][None]
        seeds = torch.from_numpy(golden[f'start_{label}']).long()[None]
        members, updates = cosine_kmeans(own, torch.ones(own.shape[:2]), seeds, torch.ones_like(seeds).bool())
        np.testing.assert_array_equal(members[0].argmax(0), golden[f'assignment_{label}'])
        assert updates.item() == golden['iterations'][label]


def close(found: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=1e-5)

"""DMTNet gives the numbers of the official implementation, from converted weights."""
import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmfss.converters.published_weights import hpn_learner_to_mmfss
from mmfss.models import FewShotSegmentor
from mmfss.models.heads.dmtnet_head import coarse_scores, flat
from mmfss.models.layers import resize_aligned
from mmfss.models.layers.self_matching import cell_starts, cells, prototypes, unit_rows
from tests.references.correlations import (
    assert_close,
    assert_gradients,
    assert_levels,
    assert_masks,
    build_model,
    episodes,
    load,
    probe,
)
from tests.references.dmtnet_ties import OF_QUERIES, of_supports, settled

# Backbone, seed of the weights; side, batch, shots and seed of the inputs, waves; layers of each level.
CASES = dict(
    r50_136=('resnet50', 22, 136, 2, 3, 22, True, (3, 6, 4)),
    r50_136_ellipse=('resnet50', 22, 136, 1, 1, 106, False, (3, 6, 4)),
    vgg16_138=('vgg16', 10, 138, 2, 3, 10, True, (1, 3, 3)))
ATOL = 1e-4

_models: dict[tuple, FewShotSegmentor] = {}


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def case(name: str, tmp_path: Path) -> tuple:
    backbone, seed, side, batch, shots, inputs, waves, layers = CASES[name]
    if (backbone, seed) not in _models:
        options = dict(references='published') if backbone == 'vgg16' else {}
        _models[backbone, seed] = build_model('dmtnet', backbone, seed, tmp_path, **options)
    return _models[backbone, seed], episodes(batch, shots, side, inputs, waves), load('dmtnet', name), layers


def taps(model: FewShotSegmentor) -> list[int]:
    """Official number (from fine to coarse) of each compared layer (from coarse to fine)."""
    counts = model.head.layers_of_level
    return [tap for level in range(3) for tap in range(sum(counts[level + 1:]), sum(counts[level:]))]


@torch.no_grad()
def test_prototypes_and_transformation(case: tuple) -> None:
    model, data, expected, _ = case
    head = model.head
    query, encoding = model.encode(data['query'], data['support'][:, :, :1], data['masks'][:, :, :1])
    supports = head.compared(model.extract_feat(data['support'][:, 0, 0]))
    for index, (tap, feature, support, layer) in enumerate(zip(taps(model), head.compared(query), supports,
                                                               encoding.ways[0])):
        name, size = f'feat{tap}', feature.shape[-2:]
        assert len(cells(size, feature)) == len(cell_starts(size[0]))**2 == expected['n_grids'][tap]
        # The official order of prototypes: foreground, background.
        weights = layer.masks[:, 0]
        of_support = prototypes(flat(support), weights)
        assert_close(probe(name, of_support, 2).T, [expected['proto_f'][tap], expected['proto_b'][tap]], ATOL, name)
        if f'proto_f_grid_{tap}' in expected:
            grid = cells(size, feature).flatten(1)
            of_cells = prototypes(flat(support), weights[:, :, None] * grid)
            for side, key in enumerate(('proto_f_grid', 'proto_b_grid')):
                assert_close(probe(name, of_cells[:, side], 2).T, expected[f'{key}_{tap}'], ATOL, key)
        scores = coarse_scores(flat(feature), layer)[:, 0]
        assert_close(scores.unflatten(-1, size), expected[f'sim_{tap}'], ATOL, name)
        mask = scores.argmax(1, keepdim=True).float()
        of_query = prototypes(flat(feature), torch.cat((mask, 1 - mask), dim=1))
        official = [expected['proto_f_q'][tap], expected['proto_b_q'][tap]]
        assert_close(probe(name, of_query, 2).T, official, ATOL, name)
        for key, rows in (('sv_C', of_support), ('sv_Cq', of_query)):
            values = torch.linalg.svdvals(unit_rows(rows).double())
            assert_close(values, expected[key][tap], 1e-5, key)

        coordinates, rows = head.transformed(index, feature, layer)
        own = layer.coordinates[:, 0, :, None] * layer.masks[:, 0, None]
        for key, ours, basis in (('tq', coordinates[:, 0], rows), ('ts', own[:, :, 0], rows[:2]),
                                 ('tb', own[:, :, 1], rows[:2])):
            reference = expected[f'{key}_probe_{tap}']
            transformed = (basis.T @ ours).unflatten(-1, size)
            assert_close(probe(name, transformed), reference, 2e-4 * np.abs(reference).max(), key)
    assert [x.shape[-2:] for x in head.coarse_scores(query, encoding.ways[0])] == [
        x.shape[-2:] for x in head.compared(query)]


@torch.no_grad()
def test_correlations_and_logits(case: tuple) -> None:
    model, data, expected, layers = case
    query, encoding = model.encode(data['query'], data['support'][:, :, :1], data['masks'][:, :, :1])
    head, way = model.head, encoding.ways[0]
    evidence = [head.aggregate(affinity, way) for affinity in head.match(query, way)]
    assert_levels(evidence, expected, (1, 4, 8), ATOL, layers)
    assert_levels(evidence, expected, (1, 4, 8), ATOL, layers, side=1, prefix='bgcorr')
    both = head.logits_of_sides(query, way, 2)
    assert_close(both[:, 0, 0], expected['logits_lr'], ATOL)
    assert_close(both[:, 0, 1], expected['bg_logits_lr'], ATOL)
    assert_close(head.decode(evidence, query, way)[:, 0], expected['logits_lr'], ATOL)
    size = data['query'].shape[-2:]
    assert_close(resize_aligned(both[:, 0, 1], size)[:, :, ::5, ::7], expected['bg_logits'], ATOL)
    final = model.match(query, encoding, size)
    assert_close(final[:, :, ::5, ::7], expected['logits'], ATOL)
    assert_masks(final.argmax(1), expected['pred_1shot'])


@torch.no_grad()
def test_shots(case: tuple, name: str) -> None:
    model, data, expected, _ = case
    shots, size = data['support'].shape[2], data['query'].shape[-2:]
    if shots == 1:
        assert 'shot_logits' not in expected
        return
    query, encoding = model.encode(data['query'], data['support'], data['masks'])
    with settled(OF_QUERIES[name]):
        both = model.head.logits_of_sides(query, encoding.ways[0], 2)
        voted = model.match(query, encoding, size).argmax(1)
    full = resize_aligned(both.flatten(0, 2), size).view(*both.shape[:4], *size)
    assert_close(full[:, :, 0].transpose(0, 1)[..., ::5, ::7], expected['shot_logits'], ATOL)
    assert_close(full[:, :, 1].transpose(0, 1)[..., ::5, ::7], expected['shot_bg_logits'], ATOL)
    assert_close(full[:, :, 0].amax(1)[..., ::5, ::7], expected['affex_max_logits'], ATOL)
    assert_masks(full[:, :, 0].argmax(2).sum(1), expected['votes'])
    assert_masks(voted, expected['pred_nshot'])


def test_losses_and_gradients(case: tuple, name: str) -> None:
    model, data, expected, _ = case
    if name == 'vgg16_138':
        # A unit of it is active or not by rounding, which changes a gradient by 0.4 %: float64 decides.
        model = copy.deepcopy(model).double()
        data = {key: value.double() if value.is_floating_point() else value for key, value in data.items()}
    model.zero_grad()
    query, encoding = model.encode(data['query'], data['support'][:, :, :1], data['masks'][:, :, :1])
    target = data['target'].long()
    logits, losses = model.head.forward_train(query, encoding.ways[0], target)
    losses.update(model.head.loss(model.compose([logits], target.shape[-2:]), target))
    assert not losses['loss_coarse'].requires_grad
    assert_close(losses['loss_ce'], expected['loss_fg'], 1e-5)
    assert_close(losses['loss_background'], expected['loss_bg'], 1e-5)
    assert_close(losses['loss_coarse'], 0.5 * expected['loss_coarse'], 1e-5)
    total = sum(losses.values())
    assert_close(total, expected['loss'], 1e-5)
    total.backward()
    names = {}
    for theirs in expected['grad_names'].tolist():
        if theirs.startswith('reference_layer'):
            place = int(theirs[len('reference_layer')]) - 1
            names[theirs] = f'head.references.{("support", "query")[place > 2]}.{place % 3}'
        else:
            ours = next(iter(hpn_learner_to_mmfss({theirs.removeprefix('hpn_learner.'): None})))
            names[theirs] = f'head.learner.{ours}'
    assert set(names.values()) == {n for n, p in model.named_parameters() if p.requires_grad}
    assert_gradients(model, names, expected)


@torch.no_grad()
def test_self_prediction(case: tuple, name: str) -> None:
    """What self-finetuning starts from: every support segments itself."""
    model, data, expected, _ = case
    shots = data['support'].shape[2]
    if shots == 1:
        assert 'support_loss' not in expected
        return
    images, masks = data['support'][:, 0].flatten(0, 1), data['masks'][:, 0].flatten(0, 1)
    with settled(of_supports(name)):
        logits = model.logits(images, images[:, None, None], masks[:, None, None])
    assert F.cross_entropy(logits, masks.long()).item() == pytest.approx(float(expected['support_loss']), abs=1e-5)
    by_shot = logits.unflatten(0, (-1, shots))
    assert_close(by_shot.transpose(0, 1)[..., ::5, ::7], expected['support_logits'], ATOL)
    assert_masks(model.head.shot_rule(by_shot).argmax(1), expected['support_pred'])

"""HSNet gives the numbers of the official implementation, from converted weights."""
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mmfss.converters.published_weights import hpn_learner_to_mmfss
from mmfss.models import FewShotSegmentor
from mmfss.models.heads.hsnet_head import tokens
from mmfss.models.layers import resize_aligned
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
from tests.references.remembered import remembered

# Backbone, seed of the weights; file, its side, batch, shots and seed of the inputs; layers of each level.
CASES = dict(
    r50_128=('resnet50', 11, 128, 2, 3, 11, (3, 6, 4)),
    r50_272=('resnet50', 11, 272, 1, 1, 12, (3, 6, 4)),
    vgg16_128=('vgg16', 6, 128, 2, 3, 6, (1, 3, 3)))
ATOL = 5e-5

_models: dict[tuple, FewShotSegmentor] = {}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple:
    backbone, seed, side, batch, shots, inputs, layers = CASES[request.param]
    if (backbone, seed) not in _models:
        model = _models[backbone, seed] = build_model('hsnet', backbone, seed, tmp_path)
        model.extract_feat = remembered(model.extract_feat)
    return _models[backbone, seed], episodes(batch, shots, side, inputs), load('hsnet', request.param), layers


def test_features_correlations_and_logits(case: tuple) -> None:
    model, data, expected, layers = case
    with torch.no_grad():
        query, encoding = model.encode(data['query'], data['support'][:, :, :1], data['masks'][:, :, :1])
        features = [feature for level in query for feature in level]
        # Taps are numbered from fine to coarse.
        for index, feature in enumerate(features):
            assert_close(probe(f'feat{index}', feature), expected[f'q_probe_{index}'], ATOL, f'query {index}')
        assert_close(torch.stack([f.mean() for f in features]), expected['q_feat_mean'], ATOL)
        assert_close(torch.stack([f.std() for f in features]), expected['q_feat_std'], ATOL)
        supports = [f for level in model.extract_feat(data['support'][:, 0, 0]) for f in level]
        for index, feature in enumerate(supports):
            masked = feature * resize_aligned(data['masks'][:, 0, :1], feature.shape[-2:])
            assert_close(probe(f'feat{index}', masked), expected[f's_probe_{index}'], ATOL, f'support {index}')

        head, way = model.head, encoding.ways[0]
        evidence = [head.aggregate(affinity, way) for affinity in head.match(query, way)]
        assert_levels(evidence, expected, (1, 2, 3), ATOL, layers)
        squeezed = head._squeezed(evidence, slice(0, 1))
        for name, level in zip(('sqz4', 'sqz3', 'sqz2'), squeezed):
            assert_close(probe(name, level[:, 0, 0]), expected[name], ATOL, name)
        logits = head.decode(evidence, query, way)
        assert logits.shape[:3] == (len(query[0][0]), 1, 2)
        assert_close(logits[:, 0], expected['logits_lr'], ATOL)
        assert_close(head(query, way), logits.numpy(), 1e-5)
        final = model.match(query, encoding, data['query'].shape[-2:])
        assert_close(final[:, :, ::5, ::7], expected['logits'], ATOL)
        assert_masks(final.argmax(1), expected['pred_1shot'])


def test_mixed_levels(case: tuple) -> None:
    model, data, expected, _ = case
    seen = {}
    names = {model.head.learner.mix[0]: 'mix43', model.head.learner.mix[1]: 'mix432'}
    hooks = [m.register_forward_hook(lambda module, args, out: seen.update({names[module]: out})) for m in names]
    with torch.no_grad():
        model.logits(data['query'], data['support'][:, :, :1], data['masks'][:, :, :1])
    for hook in hooks:
        hook.remove()
    for name, mixed in seen.items():
        assert_close(probe(name, mixed), expected[name], ATOL, name)
    assert len(seen) == 2


@torch.no_grad()
def test_shots_vote(case: tuple) -> None:
    model, data, expected, _ = case
    shots = data['support'].shape[2]
    if shots == 1:
        assert 'votes' not in expected
        return
    query, encoding = model.encode(data['query'], data['support'], data['masks'])
    low = model.head(query, encoding.ways[0])
    size = data['query'].shape[-2:]
    votes = sum(resize_aligned(low[:, shot], size).argmax(1) for shot in range(shots))
    assert_masks(votes, expected['votes'])
    assert_masks(model.match(query, encoding, size).argmax(1), expected['pred_nshot'])


def test_loss_and_gradients(case: tuple) -> None:
    model, data, expected, _ = case
    model.zero_grad()
    logits = model.logits(data['query'], data['support'][:, :, :1], data['masks'][:, :, :1])
    loss = model.head.loss(logits, data['target'].long())['loss_ce']
    assert_close(loss, expected['loss'], 1e-5)
    loss.backward()
    official = [name.removeprefix('hpn_learner.') for name in expected['grad_names'].tolist()]
    names = {f'hpn_learner.{name}': f'head.learner.{next(iter(hpn_learner_to_mmfss({name: None})))}'
             for name in official}
    assert set(names.values()) == {n for n, p in model.named_parameters() if p.requires_grad}
    assert_gradients(model, names, expected)
    assert F.cross_entropy(logits, data['target'].long()).item() == pytest.approx(loss.item())


def test_tokens_are_in_raster_order() -> None:
    feature = torch.arange(12.).view(1, 2, 2, 3)
    assert tokens(feature)[0].tolist() == [[0, 6], [1, 7], [2, 8], [3, 9], [4, 10], [5, 11]]

"""INSID3 gives the numbers of the official implementation, from given features."""
import numpy as np
import pytest
import torch

from mmfss.models.features.debiased import DebiasedFeatures
from mmfss.models.features.position_basis import PositionBasis
from tests.references.insid3 import CASES, GoldenCase, probe
from tests.references.seeded import seeded_array

ATOL = 1e-5


def assert_close(actual: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual.numpy(), expected, atol=ATOL, rtol=0, equal_nan=True)


def basis_of(case: GoldenCase) -> PositionBasis:
    return case.model.feature_reader.basis(case.model.backbone, case.query[0])


@pytest.fixture(params=CASES, scope='module')
def case(request: pytest.FixtureRequest) -> GoldenCase:
    return GoldenCase(request.param)


def test_inputs(case: GoldenCase) -> None:
    drawing = case.drawing
    assert_close(probe('input', torch.from_numpy(drawing.query)), case.expected['query_input_probe'])
    assert_close(probe('input', torch.from_numpy(drawing.black)), case.expected['black_input_probe'])


def test_basis(case: GoldenCase) -> None:
    basis, count = basis_of(case), len(case.expected['singular_values'])
    assert_close(basis.singular_values[:count], case.expected['singular_values'])
    vector = torch.from_numpy(seeded_array('probe.basis', (len(basis.directions), )))
    assert_close(basis.directions @ (basis.directions.T @ vector), case.expected['basis_probe'])


def test_both_spaces(case: GoldenCase) -> None:
    images = torch.cat((case.query, case.support[0, 0]))
    whole = DebiasedFeatures(case.model.feature_reader.reader_cfg, case.model.feature_reader.num_components,
                             compact=False)
    raw, debiased = whole(case.model.backbone, images)[0]
    expected = np.concatenate((case.expected['query_debiased_probe'][None], case.expected['support_debiased_probe']))
    assert_close(torch.stack([probe('debiased', x) for x in debiased]), expected)
    compact = case.model.feature_reader(case.model.backbone, images)[0][1]
    back = torch.einsum('cd,bdhw->bchw', basis_of(case).others, compact)
    assert_close(torch.stack([probe('debiased', x) for x in back]), expected)
    assert_close(raw.square().sum(1), np.ones_like(expected))


def test_steps_and_mask(case: GoldenCase) -> None:
    model, head, expected = case.model, case.model.head, case.expected
    grid = expected['votes'].shape
    query, encoding = model.encode(case.query, case.support, case.masks)
    way = encoding.ways[0]
    np.testing.assert_array_equal(way.masks[0].view(-1, *grid), expected['support_grid'])
    assert_close(basis_of(case).others @ way.prototype[0], expected['prototype'])

    (affinity, ) = head.match(query, way)
    nearest = affinity.nearest(groups=case.shots)[0]
    np.testing.assert_array_equal(nearest.T.view(-1, *grid), expected['nearest'])
    votes = way.masks[0].gather(1, nearest.T).sum(0)
    np.testing.assert_array_equal(votes.view(grid), expected['votes'])

    evidence = head.aggregate(affinity, way)
    np.testing.assert_array_equal(evidence[0, 0], expected['candidates'])
    (reading, ) = head.read([evidence], query, way)
    assert_close(reading.forward.view(grid), expected['forward'])
    np.testing.assert_array_equal(reading.candidates.view(grid), expected['candidates'])
    if 'labels' in expected:
        np.testing.assert_array_equal(reading.clusters.labels.view(grid), expected['labels'])
        np.testing.assert_array_equal(reading.clusters.areas, expected['area'])
        assert_close(reading.ratios, expected['ratio'])
        assert reading.seed == expected['seed_cluster']
        assert_close(reading.clusters.mean(reading.forward), expected['forward_mean'])
        directions = reading.clusters.directions
        assert_close(directions @ directions[reading.seed], expected['raw_similarity'])
        assert_close(reading.scores, expected['score'])

    logits = head.decode([evidence], query, way)
    np.testing.assert_array_equal(logits[0].argmax(0), expected['grid_mask'])
    prediction = model.logits(case.query, case.support, case.masks)[0].argmax(0)
    np.testing.assert_array_equal(prediction, expected['mask'])


def test_half_precision_changes_no_mask(case: GoldenCase) -> None:
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        prediction = case.model.logits(case.query, case.support, case.masks)[0].argmax(0)
    np.testing.assert_array_equal(prediction, case.expected['mask'])

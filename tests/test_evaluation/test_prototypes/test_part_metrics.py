"""Consistency, stability and overlap against the reference numbers."""
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mmfss.evaluation.prototypes import (
    GroupOverlap,
    PrototypeConsistency,
    PrototypeOverlap,
    PrototypeSample,
    PrototypeStability,
    masked_quantile,
    part_centres,
    part_presence,
)
from mmfss.evaluation.prototypes.presence import nearest_cells
from mmfss.models.layers.prototypes import log_similarity
from tests.references.scaleproto_golden import (
    SEED,
    C,
    D,
    H,
    N,
    P,
    S,
    W,
    drawn_prototypes,
    golden,
    raw_features,
    stage1_head,
    stage2_head,
)
from tests.references.seeded import seeded_array

PARTS = golden('parts_metrics')
LABELS = PARTS['labels'].astype(np.int64) - 1


@torch.no_grad()
def similarities(n: int, noisy: bool) -> np.ndarray:
    head = stage1_head()
    head.prototypes.data = drawn_prototypes()
    raw = raw_features(f'part.feat.{n}', S * D, H, W)
    if noisy:
        raw = raw + 0.3 * torch.from_numpy(seeded_array(f'part.noise.{n}', (S * D, H, W), SEED))
    return log_similarity(torch.cat(head.distances(raw.sigmoid()[None]), 1), head.epsilon)[0].numpy()


@pytest.fixture(scope='module')
def samples() -> list[PrototypeSample]:
    proto_class = stage1_head().proto_class.numpy()
    return [
        PrototypeSample(n, LABELS[n], PARTS['parts'][n].astype(np.int64), similarities(n, False), similarities(n, True),
                        None, proto_class, np.ones(P, bool), None) for n in range(N)
    ]


def evaluate(metric: Any, samples: list[PrototypeSample]) -> dict[str, float]:
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


@pytest.mark.parametrize('scope', ['image', 'class'])
@pytest.mark.parametrize('fixed', [False, True])
class TestGolden:

    def test_presence(self, samples: list[PrototypeSample], scope: str, fixed: bool) -> None:
        name = f'{scope}_fixed_presence' if fixed else f'{scope}_presence'
        for (prototype, class_id, n), expected in zip(PARTS[f'{scope}_rows'], PARTS[name]):
            sample = samples[n]
            found = part_presence(sample.similarities[[prototype]], sample.labels, sample.parts, class_id, 5, 0.8,
                                  scope, background=not fixed)
            np.testing.assert_array_equal(found[0], expected)

    def test_consistency(self, samples: list[PrototypeSample], scope: str, fixed: bool) -> None:
        prefix, options = f'{scope}_fixed' if fixed else scope, dict(
            max_parts=5, quantile_scope=scope, background_centroid=not fixed)
        for threshold, name in ((0.8, 'consistency'), (0.5, 'consistency_thr0.5')):
            scores = evaluate(PrototypeConsistency(threshold=threshold, **options), samples)
            assert scores['consistency'] == pytest.approx(
                float(PARTS[f'{prefix}_{name}']), abs=1e-7)
        if not fixed:
            used = np.isin(np.arange(P), PARTS['kept_prototypes'])
            limited = [PrototypeSample(**{**vars(sample), 'used': used}) for sample in samples]
            skip = [int(label) - 1 for label in PARTS['filtered_classes']]
            scores = evaluate(PrototypeConsistency(skip_classes=skip, **options), limited)
            assert scores['consistency'] == pytest.approx(float(PARTS[f'{scope}_consistency_filtered']), abs=1e-7)

    def test_stability(self, samples: list[PrototypeSample], scope: str, fixed: bool) -> None:
        metric = PrototypeStability(max_parts=5, quantile_scope=scope, background_centroid=not fixed)
        expected = PARTS[f'{scope}_fixed_stability' if fixed else f'{scope}_stability']
        assert evaluate(metric, samples)['stability'] == pytest.approx(float(expected), abs=1e-7)


class TestOverlap:

    @torch.no_grad()
    def test_groups(self, samples: list[PrototypeSample]) -> None:
        expected, head = golden('overlap'), stage2_head()
        metric = GroupOverlap()
        for sample in samples:
            z = raw_features(f'part.feat.{sample.index}', S * D, H, W).sigmoid()[None]
            groups = head.group_activations(head.distances(z))[0].numpy()
            labels = np.where(sample.labels > 3, -1, sample.labels)
            metric.process(None, [PrototypeSample(**{
                **vars(sample), 'groups': groups, 'group_class': head.group_class.numpy(), 'labels': labels})])
        self._check(metric, expected['group_intersection'], expected['group_union'], expected['group_total'], 'group')

    def test_prototypes(self, samples: list[PrototypeSample]) -> None:
        expected, metric = golden('overlap'), PrototypeOverlap()
        metric.process(None, samples)
        self._check(metric, expected['proto_intersection'], expected['proto_union'], expected['proto_total'],
                    'prototype')

    @staticmethod
    def _check(metric: Any, intersection: np.ndarray, union: np.ndarray, total: np.ndarray, name: str) -> None:
        sums = np.zeros((2, C), np.int64)
        for record in metric.results:
            for class_id, counts in record['counts'].items():
                sums[:, class_id] += counts
        np.testing.assert_allclose(sums[0], intersection, atol=2)
        np.testing.assert_allclose(sums[1], union, atol=2)
        assert metric.compute_metrics(metric.results)[f'{name}_overlap'] == pytest.approx(float(total), abs=1e-3)

    def test_some_images(self, samples: list[PrototypeSample]) -> None:
        metric = PrototypeOverlap(num_images=2, num_total=N)
        metric.process(None, samples)
        assert sum(bool(record['counts']) for record in metric.results) == 2
        assert 'in those of 2 random images' in metric.definition
        assert 'in all images' in PrototypeOverlap(num_images=N, num_total=N).definition
        with pytest.raises(ValueError, match='num_images needs num_total'):
            PrototypeOverlap(num_images=2)

    def test_model_without_groups(self, samples: list[PrototypeSample]) -> None:
        with pytest.raises(ValueError, match='GroupOverlap needs a model with groups'):
            GroupOverlap().process(None, samples)


def test_processes_make_no_difference(samples: list[PrototypeSample]) -> None:
    """Records in any order, and those of images that were padded to fill up a process, twice."""
    for metric in (PrototypeConsistency(max_parts=5), PrototypeStability(max_parts=5), PrototypeOverlap()):
        metric.process(None, samples)
        records = metric.results
        assert metric.compute_metrics(records[1::2] + records[::2] + records[:1]) == metric.compute_metrics(records)


def test_quantile_of_the_enlarged_map() -> None:
    rng = np.random.RandomState(0)
    maps, size = rng.rand(4, 5, 7).astype(np.float32) + 0.1, (38, 45)
    rows, cols = nearest_cells(size, (5, 7))
    large = np.stack([cv2.resize(m, size[::-1], interpolation=cv2.INTER_NEAREST) for m in maps])
    np.testing.assert_array_equal(maps[:, rows][:, :, cols], large)
    mask = rng.rand(*size) < 0.3
    counts = np.bincount((rows[:, None] * 7 + cols)[mask], minlength=35)
    shown = counts.nonzero()[0]
    for quantile in (0, 0.2, 0.8, 0.95, 1):
        for zeros in (0, int((~mask).sum())):
            values = large[:, mask].astype(np.float64)
            values = np.concatenate([values, np.zeros((4, zeros))], 1)
            found = masked_quantile(maps.reshape(4, -1)[:, shown], counts[shown], quantile, zeros)
            np.testing.assert_array_equal(found, np.quantile(values, quantile, axis=1))


def test_cells_of_pixels_are_those_of_opencv() -> None:
    for cells in (1, 7, 39, 60, 65, 85):
        row = np.arange(cells, dtype=np.float32)[None]
        for size in range(1, 400, 3):
            enlarged = cv2.resize(row, (size, 2), interpolation=cv2.INTER_NEAREST)
            np.testing.assert_array_equal(nearest_cells((2, size), (1, cells))[1], enlarged[0])


def test_centres() -> None:
    parts = np.zeros((9, 9), np.int64)
    parts[0:3, 0:3], parts[6:9, 6:9], parts[4, 4] = 1, 1, 2
    assert sorted(map(tuple, part_centres(parts)[1].tolist())) == [(1, 1), (7, 7)]
    assert part_centres(parts)[2].tolist() == [[4, 4]]
    assert len(part_centres(parts, background=True)[1]) == 3
    full = part_centres(np.ones((4, 4), np.int64), background=True)
    assert len(full[1]) == 1


def test_a_prototype_on_a_part() -> None:
    """One cell of the class is activated, and the centre of a part lies in it."""
    labels, parts = np.zeros((8, 8), np.int64), np.zeros((8, 8), np.int64)
    labels[:, 4:] = 1
    parts[0:2, 4:6], parts[6:8, 6:8] = 1, 3
    maps = np.full((1, 4, 4), 0.1, np.float32)
    maps[0, 0, 2] = 5
    found = part_presence(maps, labels, parts, 1, 4)
    np.testing.assert_array_equal(found[0], [np.nan, 1, np.nan, 0, np.nan])
    assert part_presence(maps, labels, parts, 0, 4) is None
    with pytest.raises(ValueError, match='the id 3, but max_parts is 2'):
        part_presence(maps, labels, parts, 1, 2)


def test_nothing_to_count(samples: list[PrototypeSample]) -> None:
    bare = [PrototypeSample(**{**vars(sample), 'parts': None}) for sample in samples]
    assert np.isnan(evaluate(PrototypeConsistency(max_parts=5), bare)['consistency'])
    assert np.isnan(evaluate(PrototypeStability(max_parts=5), bare)['stability'])


@pytest.mark.parametrize(('options', 'message'), [
    (dict(max_parts=0), 'max_parts must be at least 1'), (dict(max_parts=5, quantile_scope='pixel'), 'quantile_scope')])
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrototypeConsistency(**options)

from math import isnan, nan

import numpy as np
import pytest
import torch

from mmfss.evaluation.attribution.causal_metric import spaced_indices
from mmfss.evaluation.attribution.functional import (
    area_under_curve,
    class_iou,
    count_boundaries,
    mean_and_interval,
    mean_loss,
    rank_pixels,
    region_confidence,
    scale_to_unit,
    stride_boundaries,
    threshold_boundaries,
)


class TestRanking:

    def test_descending_and_stable(self) -> None:
        attribution = torch.tensor([[[[1., 3.], [2., 3.]]], [[[0., 2.], [3., -1.]]]])
        assert rank_pixels(attribution).tolist() == [[[[5, 0], [3, 1]]], [[[6, 4], [2, 7]]]]

    def test_many_ties(self) -> None:
        assert rank_pixels(torch.zeros(2, 1, 20, 30)).flatten().equal(torch.arange(1200))


class TestBoundaries:

    def test_counts(self) -> None:
        assert count_boundaries(10, 4) == [0, 2, 5, 7, 10]
        assert count_boundaries(1000, 2, 0.0155) == [0, 7, 15]
        # More steps than pixels repeat a state.
        assert count_boundaries(2, 4) == [0, 0, 1, 1, 2]
        with pytest.raises(ValueError, match='0.1 % of 900 support pixels is less than one'):
            count_boundaries(900, 1, 0.001)

    def test_stride(self) -> None:
        assert stride_boundaries(10, 4) == [0, 4, 8, 10]
        assert stride_boundaries(8, 4) == [0, 4, 8]
        assert stride_boundaries(3, 5) == [0, 3]

    def test_thresholds(self) -> None:
        values = torch.tensor([1., 0.9, 0.75, 0.5, 0.3, 0.])
        assert threshold_boundaries(values, 0.25) == [0, 3, 4, 5, 6]
        assert threshold_boundaries(values, 0.25, skip_top=True) == [1, 3, 4, 5, 6]
        # 0.4 does not divide 1: thresholds 0.6, 0.2, 0.
        assert threshold_boundaries(values, 0.4) == [0, 3, 5, 6]

    def test_a_tenth_is_ten_steps(self) -> None:
        values = torch.arange(11) / 10
        assert threshold_boundaries(values, 0.1) == [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]

    def test_unscaled_attribution(self) -> None:
        for values in ([-0.1, 1], [0, 2]):
            with pytest.raises(ValueError, match='between 0 and 1'):
                threshold_boundaries(torch.tensor(values), 0.25)


class TestScores:

    def test_area(self) -> None:
        assert area_under_curve([0, 1]) == 0.5
        assert area_under_curve([0, 0.5, 1, 1, 1]) == 0.75
        assert area_under_curve([0.3] * 7) == pytest.approx(0.3)
        with pytest.raises(ValueError, match='two scored states'):
            area_under_curve([1.])

    def test_loss(self) -> None:
        assert mean_loss([0.25, 0.75]) == 0.5
        assert mean_loss([0.25, 0.75, 0.5]) == 0.
        with pytest.raises(ValueError, match='loss'):
            mean_loss([1.])

    def test_confidence(self) -> None:
        logits = torch.log(torch.tensor([[[0.9, 0.2]], [[0.1, 0.8]]]))
        region = torch.tensor([[[True, False]], [[True, True]], [[False, False]]])
        one, both, none = region_confidence(logits, region)
        torch.testing.assert_close(one, torch.tensor([0.9, 0.1]))
        torch.testing.assert_close(both, torch.tensor([0.55, 0.45]))
        assert none.isnan().all()

    def test_iou(self) -> None:
        pred = torch.tensor([[1, 1, 2, 0]])
        assert class_iou(pred, torch.tensor([[1, 0, 2, 255]]), 3) == [0.5, 1, 0]
        assert class_iou(pred, torch.full((1, 4), 255), 2) == [0, 0]

    def test_scale_to_unit(self) -> None:
        torch.testing.assert_close(scale_to_unit(torch.tensor([-1., 0., 3.])), torch.tensor([0., 0.25, 1.]))
        assert scale_to_unit(torch.full((3, ), 7.)).tolist() == [0, 0, 0]


class TestInterval:

    def test_one_value(self) -> None:
        assert mean_and_interval([0.25]) == (0.25, (0.25, 0.25))

    def test_nan_counts_nowhere(self) -> None:
        mean, (low, high) = mean_and_interval([0.2, nan, 0.4, nan])
        assert mean == pytest.approx(0.3)
        assert (low, high) == pytest.approx((0.2, 0.4))

    def test_no_value(self) -> None:
        mean, interval = mean_and_interval([nan, nan])
        assert isnan(mean) and all(map(isnan, interval))

    def test_no_replicates(self) -> None:
        mean, interval = mean_and_interval([1., 2.], num_replicates=0)
        assert mean == 1.5 and all(map(isnan, interval))

    def test_agrees_with_the_normal_interval(self) -> None:
        values = np.random.default_rng(0).normal(size=400)
        mean, (low, high) = mean_and_interval(values.tolist(), num_replicates=4000)
        error = 1.96 * values.std() / 20
        assert low == pytest.approx(mean - error, abs=0.01) and high == pytest.approx(mean + error, abs=0.01)

    def test_shifts_with_the_values(self) -> None:
        """Replicates are the same for all metrics and explainers."""
        values = np.random.default_rng(1).normal(size=30)
        first, second = (mean_and_interval((values + shift).tolist())[1] for shift in (0, 5))
        assert second == pytest.approx((first[0] + 5, first[1] + 5))


class TestSpacedIndices:

    def test_log(self) -> None:
        indices = spaced_indices(76, 10)
        assert indices[:4] == [0, 1, 2, 3] and indices[-1] == 75 and len(indices) <= 12
        assert np.diff(indices)[-1] > 5

    def test_linear(self) -> None:
        assert spaced_indices(76, 5, 'linear') == [0, 15, 30, 45, 60, 75]

    def test_few_states(self) -> None:
        assert spaced_indices(0) == [] and spaced_indices(1) == [0]
        for spacing in ('log', 'linear'):
            assert spaced_indices(4, 30, spacing) == [0, 1, 2, 3]
        with pytest.raises(ValueError, match='cubic'):
            spaced_indices(4, spacing='cubic')

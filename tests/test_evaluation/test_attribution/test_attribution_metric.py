from math import isnan, nan
from typing import Optional

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger

from mmfss.evaluation import Infidelity, InsertionDeletion
from mmfss.evaluation.attribution import Measurement


def records(values: list[Optional[float]], name: str = 'IAUC', first: int = 0) -> list[dict]:
    """Two explainers, the second half as good."""
    return [
        dict(index=first + i, scores={name: {
            'signed_affex': dict(value=value, curve=[0., 1.]),
            'random': dict(value=None if value is None else value / 2, curve=None),
        }}) for i, value in enumerate(values)
    ]


class TestAttributionMetric:

    def test_means_in_per_cent(self) -> None:
        evaluator = Evaluator(InsertionDeletion())
        evaluator.process(records([0.2, 0.4, 0.9]))
        metrics = evaluator.evaluate(3)
        assert metrics['signed_affex/IAUC'] == pytest.approx(50) and metrics['random/IAUC'] == pytest.approx(25)
        assert metrics['signed_affex/IAUC/num_nan'] == 0
        low, high = metrics['signed_affex/IAUC/interval']
        assert 20 <= low < 50 < high <= 90
        assert metrics['random/IAUC/interval'] == pytest.approx([low / 2, high / 2])

    def test_plain_numbers(self) -> None:
        metric = Infidelity(num_replicates=0)
        metric.process(None, records([0.2, 0.4], 'Infidelity'))
        metrics = metric.evaluate(2)
        assert metrics['signed_affex/Infidelity'] == pytest.approx(0.3)
        assert 'signed_affex/Infidelity/interval' not in metrics

    def test_prefix_and_reset(self) -> None:
        metric = InsertionDeletion(prefix='explain', num_replicates=0)
        metric.process(None, records([1.]))
        assert metric.evaluate(1)['explain/signed_affex/IAUC'] == 100
        assert metric.results == []

    def test_nan_is_counted_and_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        metric = InsertionDeletion()
        metric.process(None, records([0.2, None, 0.4]))
        # Nothing could be explained in this one.
        metric.process(None, [dict(index=9, empty=True, scores={})])
        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        try:
            metrics = metric.evaluate(4)
        finally:
            logger.removeHandler(caplog.handler)
        assert metrics['signed_affex/IAUC'] == pytest.approx(30)
        assert metrics['signed_affex/IAUC/num_nan'] == metrics['random/IAUC/num_nan'] == 2
        assert 'signed_affex/IAUC: 2 of 4 episodes' in caplog.text

    def test_no_value_at_all(self) -> None:
        metric = InsertionDeletion()
        metric.process(None, records([None]))
        metrics = metric.evaluate(1)
        assert isnan(metrics['random/IAUC']) and metrics['random/IAUC/num_nan'] == 1

    def test_additive_in_any_order(self) -> None:
        values = torch.rand(11, generator=torch.Generator().manual_seed(0)).tolist()
        values[4] = None
        whole, *parts = (InsertionDeletion() for _ in range(4))
        episodes = records(values)
        whole.process(None, episodes)
        for rank, part in enumerate(parts):
            part.process(None, episodes[rank::3])
        expected = whole.compute_metrics(whole.results)
        for order in ((0, 1, 2), (2, 0, 1)):
            merged = whole.compute_metrics([entry for rank in order for entry in parts[rank].results])
            assert merged == expected
        # An episode that two processes did, e.g. to fill up the last batch, counts once.
        assert whole.compute_metrics(whole.results + parts[1].results) == expected
        assert whole.compute_metrics(whole.results[:-1]) != expected

    def test_uneven_processes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whichever process has the episodes: one may have none."""
        whole, mine = InsertionDeletion(), InsertionDeletion()
        whole.process(None, records([0.1, 0.2, 0.6]))
        expected = whole.compute_metrics(whole.results)
        others = [[], whole.results[1:]]
        mine.process(None, records([0.1]))
        monkeypatch.setattr('mmfss.evaluation.attribution.attribution_metric.all_gather_object',
                            lambda own: [*others, own])
        assert mine.evaluate(3) == expected

    def test_keeps_numbers_only(self) -> None:
        metric = InsertionDeletion()
        metric.process(None, records([0.5]))
        assert metric.results == [dict(index=0, values=dict(signed_affex=0.5, random=0.25))]

    def test_errors(self) -> None:
        metric = InsertionDeletion()
        with pytest.raises(KeyError, match='episode 3 has no metric "IAUC", only .*DAUC'):
            metric.process(None, records([0.5], 'DAUC', first=3))
        with pytest.raises(ValueError, match='No episode was scored by IAUC'):
            metric.evaluate(0)


def test_record_of_a_measurement() -> None:
    assert Measurement(0.5, [0., 1.]).to_record() == dict(value=0.5, curve=[0., 1.])
    assert Measurement(nan, [nan, 1.]).to_record() == dict(value=None, curve=[None, 1.])
    assert Measurement(1.).to_record() == dict(value=1., curve=None)

"""The causal metrics give the numbers of the AffEx reference implementation."""
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from mmfss.evaluation import InsertionDeletion, PerturbedEpisode, SupportRanking
from mmfss.evaluation.attribution import build_attribution_metric
from mmfss.evaluation.attribution.causal_metric import CausalMetric
from mmfss.models import FewShotSegmentor
from tests.test_evaluation.test_attribution.golden_episodes import (
    DATA,
    EPISODES,
    build_episode,
    build_model,
    explanation,
    true_region,
)

CONFIDENCE, MIOU = 1e-3, 3e-3
CONF = dict(measure='confidence', channel='top')
METRICS: dict[str, dict[str, Any]] = {
    'iauc_logits_n': dict(CONF, num_steps=10),
    'dauc_logits_n': dict(CONF, mode='del', num_steps=10),
    'iauc_logits_n_Rgt': dict(CONF, num_steps=10),
    'iauc_miou_n_skip': dict(num_steps=10, skip_empty=True),
    'dauc_miou_n_skip': dict(mode='del', num_steps=10, skip_empty=True),
    'dauc_miou_n_noskip': dict(mode='del', num_steps=10),
    'iauc_logits_n5_p01': dict(CONF, num_steps=5, percentage=0.01),
    'mioul_p01': dict(num_steps=1, percentage=0.01, loss=True, skip_empty=True),
    'mioul_p05': dict(num_steps=1, percentage=0.05, loss=True, skip_empty=True),
    'confl_p05': dict(CONF, num_steps=1, percentage=0.05, loss=True, skip_empty=True),
    'dauc_logits_step': dict(CONF, mode='del'),
    'iauc_logits_thr': dict(CONF, threshold_step=0.25, skip_top=True),
    'iauc_miou_ignore': dict(num_steps=4, skip_empty=True),
}
SUPPORT_METRICS: dict[str, dict[str, Any]] = {
    'img_ins_logits': dict(CONF),
    'img_del_logits': dict(CONF, mode='del'),
    'img_ins_miou_skip': dict(skip_empty=True),
}
PRESETS = {'mioul_p01': 'miou_loss@1%', 'mioul_p05': 'miou_loss@5%', 'confl_p05': 'confidence_loss@5%',
           'iauc_logits_n5_p01': 'iauc@1%'}


@dataclass
class Case:
    """An episode, its model, what is scored, and the reference's numbers."""
    name: str
    subject: PerturbedEpisode
    predicted: Tensor
    truth: Tensor
    explanation: Tensor
    reference: dict[str, np.ndarray]

    def check(self, metric: CausalMetric, key: str, explanation: Tensor, tolerance: float) -> None:
        region = self.truth if key.endswith('Rgt') else self.predicted
        subject = self.subject
        if key.endswith('ignore'):
            target = subject.episode.target.clone()
            target[:len(target) // 16] = 255
            subject = PerturbedEpisode(subject.model, replace(subject.episode, target=target))
        measured = metric.measure(subject, explanation, region)
        expected = self.reference[f'{key}_scores'][:, 0]
        np.testing.assert_allclose(measured.curve, expected, rtol=0, atol=tolerance, err_msg=key)
        np.testing.assert_allclose(measured.value, self.reference[f'{key}_auc'], rtol=0, atol=tolerance, err_msg=key)


@pytest.fixture(scope='module', params=EPISODES)
def case(request: pytest.FixtureRequest) -> Case:
    name: str = request.param
    reference = dict(np.load(DATA / 'affex' / f'{name}_metrics.npz'))
    model: FewShotSegmentor = build_model(name)
    episode = build_episode(name, reference['gt_metric'][0])
    subject = PerturbedEpisode(model, episode)
    predicted = subject.original_logits.argmax(0, keepdim=True) == 1
    return Case(name, subject, predicted, true_region(name), explanation(name), reference)


def test_regions(case: Case) -> None:
    """The labels are where prediction and object differ, so the prediction is the reference's."""
    labels = case.predicted ^ case.truth
    assert (labels[0].numpy() != case.reference['gt_metric'][0]).mean() < 1e-3
    assert case.predicted.any() and case.truth.any()


@pytest.mark.parametrize('key', METRICS)
def test_insertion_and_deletion(case: Case, key: str) -> None:
    options, values = dict(METRICS[key]), case.explanation
    if key.endswith('step'):
        options['step'] = values.numel() // 4 - 1
    if key.endswith('thr'):
        values = (values - values.min()) / (values.max() - values.min())
    metric = InsertionDeletion(**options)
    if f'{key}_intervals' in case.reference:
        boundaries = metric.boundaries(values)
        assert boundaries + [values.numel()] * metric.loss == case.reference[f'{key}_intervals'].tolist()
    case.check(metric, key, values, CONFIDENCE if 'confidence' in options.values() else MIOU)


@pytest.mark.parametrize('key', SUPPORT_METRICS)
def test_support_ranking(case: Case, key: str) -> None:
    options = SUPPORT_METRICS[key]
    if case.subject.episode.num_shots == 1:
        pytest.skip('One support has no ranking.')
    case.check(SupportRanking(**options), key, case.explanation, CONFIDENCE if 'measure' in options else MIOU)


@pytest.mark.parametrize('key', PRESETS)
def test_presets(case: Case, key: str) -> None:
    case.check(build_attribution_metric(PRESETS[key]), key, case.explanation, MIOU)


def test_top_channel(case: Case) -> None:
    """The reference follows the class that leads in the region, which may be background."""
    metric = InsertionDeletion(**CONF)
    for region, key in ((case.predicted, 'top_pred'), (case.truth, 'top_gt')):
        assert metric._channel(case.subject, region, 0) == int(case.reference[key])
        assert InsertionDeletion(measure='confidence')._channel(case.subject, region, 0) == 1

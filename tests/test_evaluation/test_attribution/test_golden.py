"""The causal metrics give the numbers of the AffEx reference implementation."""
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmfss.evaluation import InsertionDeletion, PerturbedEpisode, SupportRanking
from mmfss.evaluation.attribution import build_attribution_metric
from mmfss.evaluation.attribution.causal_metric import CausalMetric
from mmfss.models import FewShotSegmentor
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from tests.references.affex import DATA, EPISODES, ReferenceEpisode, build_reference_model
from tests.references.seeded import seeded_image

CONFIDENCE, MIOU, END_TO_END = 1e-3, 3e-3, 2e-2
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


class RememberingEpisode(PerturbedEpisode):
    """Predicts each state once, whatever is read from it."""

    def __init__(self, model: FewShotSegmentor, episode: Episode) -> None:
        super().__init__(model, episode)
        self.known: dict[bytes, Tensor] = {}

    def logits(self, support: Tensor, masks: Tensor) -> Tensor:
        keys = [sha256(image.numpy()).digest() + sha256(mask.numpy()).digest() for image, mask in zip(support, masks)]
        if not self.known.keys() >= set(keys):
            self.known.update(zip(keys, super().logits(support, masks)))
        return torch.stack([self.known[key] for key in keys])


@dataclass
class Case:
    """An episode with its model, what is scored, and the reference's numbers."""
    subject: RememberingEpisode
    predicted: Tensor
    truth: Tensor
    explanation: Tensor
    reference: dict[str, np.ndarray]

    @cached_property
    def attribution(self) -> Tensor:
        """The map of Signed AffEx as released."""
        explainer = EXPLAINERS.build(dict(type='signed_affex', parity=True))
        return explainer.attribute(self.subject.model, self.subject.episode, 'prediction')

    def check(self, metric: CausalMetric, key: str, explanation: Tensor, tolerance: float) -> None:
        region = self.truth if key.endswith('Rgt') else self.predicted
        subject = self.subject
        if key.endswith('ignore'):
            target = subject.episode.target.clone()
            target[:len(target) // 16] = 255
            subject = RememberingEpisode(subject.model, replace(subject.episode, target=target))
            subject.known = self.subject.known
        measured = metric.measure(subject, explanation, region)
        expected = self.reference[f'{key}_scores'][:, 0]
        np.testing.assert_allclose(measured.curve, expected, rtol=0, atol=tolerance, err_msg=key)
        np.testing.assert_allclose(measured.value, self.reference[f'{key}_auc'], rtol=0, atol=tolerance, err_msg=key)


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build_reference_model()


@pytest.fixture(scope='module', params=[episode for episode in EPISODES if episode.num_ways == 1], ids=lambda e: e.name)
def case(request: pytest.FixtureRequest, model: FewShotSegmentor) -> Case:
    drawn: ReferenceEpisode = request.param
    drawn.load_weights(model)
    episode = drawn.episode()
    reference = dict(np.load(DATA / f'{drawn.name}_metrics.npz'))
    # The reference's labels of the metrics are not those of the region.
    target = torch.from_numpy(reference['gt_metric'][0]).long()
    subject = RememberingEpisode(model, replace(episode, target=target))
    predicted = subject.original_logits.argmax(0, keepdim=True) == 1
    explanation = torch.from_numpy(
        seeded_image(f'{drawn.name}/fixed_explanation', (1, *episode.masks.shape[1:]), drawn.seed))
    return Case(subject, predicted, episode.target[None] == 1, explanation, reference)


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


@pytest.mark.parametrize('key', ['mioul_p05', 'iauc_logits_n'])
def test_end_to_end(case: Case, key: str) -> None:
    """The map of Signed AffEx as released, then the metric."""
    case.check(InsertionDeletion(**METRICS[key]), f'e2e_signed_{key}', case.attribution, END_TO_END)

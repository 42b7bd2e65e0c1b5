"""Presence of classes in queries: scores, their calibration, and their measurement on right and wrong classes."""
from dataclasses import asdict
from typing import Any, Iterator

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from mmfss.datasets import EpisodicDataset, WrongSupportDataset
from mmfss.evaluation.presence_auc import PresenceAUC
from mmfss.models import BaseFewShotSegmentor
from mmfss.models.layers.class_presence import EVIDENCE, PresenceCalibration
from mmfss.models.segmentors.base_few_shot_segmentor import support_masks
from mmfss.models.segmentors.presence_judge import PresenceJudge, logits_and_evidence
from mmfss.utils.config_options import ConfigError

BASELINES = ('largest foreground probability', 'predicted area')
PRESENCE = 'presence'


def absorb_negatives(logits: Tensor, number: int) -> Tensor:
    """Let negative references compete with the classes: background takes the largest of their logits.

    Args:
        logits (Tensor): Of background, N classes and M negatives, (N+M+1, h, w).
        number (int): M.

    Returns:
        Tensor: Shape (N+1, h, w).
    """
    if not number:
        return logits
    kept = logits[:-number].clone()
    kept[0] = torch.maximum(kept[0], logits[-number:].amax(0))
    return kept


class PresenceStudy:
    """Calibrate presence scores on training classes, and measure them on tested ones.

    Every episode is predicted with its own supports and with supports of another class that the query does not show
    (:class:`WrongSupportDataset`).

    Args:
        model (BaseFewShotSegmentor): The model, in eval mode.
        batch_size (int): Episodes that go through the model together. Defaults to 4.

    Raises:
        ConfigError: If the model shows no feature map.
    """

    def __init__(self, model: BaseFewShotSegmentor, batch_size: int = 4) -> None:
        if type(model).presence_feature is BaseFewShotSegmentor.presence_feature:
            raise ConfigError(f'A {type(model).__name__} shows no feature map by which presence could be judged; a '
                              'FewShotSegmentor does.')
        self.model = model
        self.batch_size = batch_size

    def calibrate(self, dataset: EpisodicDataset) -> PresenceCalibration:
        """Fit the calibration on 1-way episodes, which must show training classes."""
        records = list(self.records(dataset))
        present = torch.tensor([record['present'] for record in records])
        return PresenceCalibration.fit(torch.stack([record['evidence'] for record in records]), present)

    def measure(self, dataset: EpisodicDataset, judge: PresenceJudge) -> dict[str, Any]:
        """Compute the AUC of the presence score, of each value of the evidence and of the baselines, in per cent."""
        metric = PresenceAUC()
        for record in self.records(dataset):
            scores = {PRESENCE: judge(record['evidence'][None, None]).item(), **record['baselines'],
                      **dict(zip(EVIDENCE, record['evidence'].tolist()))}
            metric.process(None, [dict(present=record['present'], scores=scores)])
        return metric.evaluate(0)

    def records(self, dataset: EpisodicDataset) -> Iterator[dict[str, Any]]:
        """Predict the episodes of a dataset with right and wrong supports.

        Args:
            dataset (EpisodicDataset): 1-way episodes.

        Yields:
            dict: ``present`` (bool), ``evidence`` (Tensor, (5, )), ``baselines`` (numbers by name).
        """
        wrong = WrongSupportDataset(dataset)
        absent = [index for index in range(len(wrong)) if not self._shows_donor(dataset, wrong, index)]
        for present, part in ((True, dataset), (False, Subset(wrong, absent))):
            for batch in DataLoader(part, self.batch_size, collate_fn=pseudo_collate):
                yield from self._predict(batch, present)

    @staticmethod
    def _shows_donor(dataset: EpisodicDataset, wrong: WrongSupportDataset, index: int) -> bool:
        """Check whether the query of an episode shows the class of the wrong supports, too."""
        donor, = dataset.episode(wrong.donor(index)).class_ids
        return dataset.episode(index).query in dataset.lists.images_of(donor)

    @torch.no_grad()
    def _predict(self, batch: dict[str, Any], present: bool) -> Iterator[dict[str, Any]]:
        data = self.model.data_preprocessor(batch, False)
        inputs = data['inputs']
        logits, evidence = logits_and_evidence(self.model, inputs['query'], inputs['support'],
                                               support_masks(data['data_samples']))
        evidence = evidence[:, 0].cpu()
        foreground = logits.softmax(1)[:, 1].flatten(1)
        area = (logits.argmax(1) > 0).float().flatten(1).mean(1)
        for values, largest, share in zip(evidence, foreground.amax(1).tolist(), area.tolist()):
            yield dict(present=present, evidence=values, baselines=dict(zip(BASELINES, (largest, share))))


def calibration_record(calibration: PresenceCalibration, **description: Any) -> dict[str, Any]:
    """Return what :meth:`PresenceJudge.load` reads, for a JSON file."""
    return dict(calibration=asdict(calibration), evidence=list(EVIDENCE), **description)

"""Presence of classes in queries: scores, their calibration, and their measurement on right and wrong classes."""
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence, Union

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from mmfss.datasets import EpisodicDataset, WrongSupportDataset
from mmfss.evaluation.presence_auc import PresenceAUC
from mmfss.models import BaseFewShotSegmentor
from mmfss.models.layers.class_presence import EVIDENCE, MATCHING, PresenceCalibration, PresenceCells
from mmfss.models.segmentors.base_few_shot_segmentor import support_masks
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import read_text

BASELINES = ('largest foreground probability', 'predicted area')
PRESENCE = 'presence'


@dataclass(frozen=True)
class PresenceJudge:
    """Judge whether queries show the classes of a support set, whatever the head.

    Attributes:
        calibration (PresenceCalibration, optional): Makes the score a probability. Without it, the score is the mean
            of the evidence of the features, from -2 to 2; the larger the more likely.
        threshold (float, optional): Probability below which a class counts as absent, so that its mask is empty.

    Raises:
        ConfigError: If a threshold is given without calibration, or not between 0 and 1.
    """
    calibration: Optional[PresenceCalibration] = None
    threshold: Optional[float] = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ConfigError(f'presence_threshold is a probability between 0 and 1, got {self.threshold}.')
        if self.threshold is not None and self.calibration is None:
            raise ConfigError('presence_threshold needs calibrated scores: give the file that '
                              'tools/analysis_tools/presence.py writes as presence.')

    @classmethod
    def load(cls, calibration: Union[str, Path, None], threshold: Optional[float] = None) -> 'PresenceJudge':
        """Read a calibration that ``tools/analysis_tools/presence.py`` has written.

        Raises:
            FileNotFoundError: If there is no such file.
            ConfigError: If it holds no calibration, or the threshold is wrong.
        """
        if calibration is None:
            return cls(None, threshold)
        try:
            return cls(PresenceCalibration(**json.loads(read_text(calibration))['calibration']), threshold)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f'The file "{calibration}" holds no calibration of presence scores; '
                              'tools/analysis_tools/presence.py writes one.') from error

    def __call__(self, evidence: Tensor) -> Tensor:
        """Return scores (B, N) of evidence (B, N, E)."""
        if self.calibration is None:
            return evidence[..., :len(MATCHING)].mean(-1)
        return self.calibration(evidence.flatten(0, 1)).view(evidence.shape[:2])

    def without_absent(self, logits: Tensor, presence: Optional[Tensor]) -> Tensor:
        """Take absent classes out of logits (N+1, h, w), by their presence (N, )."""
        if self.threshold is None or presence is None:
            return logits
        absent = torch.cat((presence.new_zeros(1).bool(), presence < self.threshold)).to(logits.device)
        return logits.masked_fill(absent[:, None, None], torch.finfo(logits.dtype).min)


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


def presence_cells(model: BaseFewShotSegmentor, features: Any,
                   masks: Sequence[Tensor]) -> Optional[tuple[PresenceCells, ...]]:
    """Keep of the supports what presence is judged by.

    Args:
        model (BaseFewShotSegmentor): The model.
        features (Any): Features of all supports, ordered by way, then by episode, then by shot.
        masks (Sequence[Tensor]): For each way (B, K_n, H, W).

    Returns:
        tuple[PresenceCells, ...] | None: For each way; None if the model shows no feature map.
    """
    feature = model.presence_feature(features)
    if feature is None:
        return None
    parts = feature.split([mask.shape[0] * mask.shape[1] for mask in masks])
    return tuple(PresenceCells.of(part, mask.float()) for part, mask in zip(parts, masks))


def presence_evidence(model: BaseFewShotSegmentor, features: Any, logits: Tensor,
                      cells: Sequence[PresenceCells]) -> Tensor:
    """Compute the evidence for each class in queries.

    Args:
        model (BaseFewShotSegmentor): The model.
        features (Any): Features of B queries.
        logits (Tensor): Its prediction, (B, N+1, h, w).
        cells (Sequence[PresenceCells]): Result of :func:`presence_cells`.

    Returns:
        Tensor: Shape (B, N, 5): :meth:`PresenceCells.evidence`, and the largest log odds of the class's foreground,
        at most 50.
    """
    feature, probabilities = model.presence_feature(features), logits.softmax(1)
    matching = torch.stack([of_class.evidence(feature, probabilities[:, way])
                            for way, of_class in enumerate(cells, start=1)], dim=1)
    confidence = (logits[:, 1:len(cells) + 1] - logits[:, :1]).flatten(2).amax(2).clamp(-50, 50)
    return torch.cat((matching, confidence[..., None]), dim=2)


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
        masks = support_masks(data['data_samples'])
        images = data['inputs']['support']
        queries = self.model.extract_feat(data['inputs']['query'])
        supports = self.model.extract_feat(images.transpose(0, 1).flatten(0, 2))
        encoding = self.model.encode_features(supports, masks.to(images.dtype))
        logits = self.model.match(queries, encoding, data['inputs']['query'].shape[-2:])
        cells = presence_cells(self.model, supports, list(masks.unbind(1)))
        evidence = presence_evidence(self.model, queries, logits, cells)[:, 0].cpu()
        foreground = logits.softmax(1)[:, 1].flatten(1)
        area = (logits.argmax(1) > 0).float().flatten(1).mean(1)
        for values, largest, share in zip(evidence, foreground.amax(1).tolist(), area.tolist()):
            yield dict(present=present, evidence=values, baselines=dict(zip(BASELINES, (largest, share))))


def calibration_record(calibration: PresenceCalibration, **description: Any) -> dict[str, Any]:
    """Return what :meth:`PresenceJudge.load` reads, for a JSON file."""
    return dict(calibration=asdict(calibration), evidence=list(EVIDENCE), **description)

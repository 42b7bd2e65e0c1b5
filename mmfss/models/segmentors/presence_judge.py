"""Judge whether queries show the classes of their supports, by a model's features and its prediction."""
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import torch
from torch import Tensor, nn

from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import read_text
from ..layers.class_presence import MATCHING, PresenceCalibration, PresenceCells


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


def presence_cells(model: nn.Module, features: Any,
                   masks: Sequence[Tensor]) -> Optional[tuple[PresenceCells, ...]]:
    """Keep of the supports what presence is judged by.

    Args:
        model (nn.Module): A :class:`BaseFewShotSegmentor`.
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


def presence_evidence(model: nn.Module, features: Any, logits: Tensor,
                      cells: Sequence[PresenceCells]) -> Tensor:
    """Compute the evidence for each class in queries.

    Args:
        model (nn.Module): A :class:`BaseFewShotSegmentor`.
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


def logits_and_evidence(model: nn.Module, query: Tensor, support: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Predict as ``model.logits``, and compute the evidence that each class is there.

    Args:
        model (nn.Module): A :class:`BaseFewShotSegmentor`.
        query (Tensor): Normalized images, shape (B, 3, H, W).
        support (Tensor): Shape (B, N, K, 3, H, W).
        masks (Tensor): Shape (B, N, K, H, W).

    Returns:
        tuple[Tensor, Tensor]: Raw logits (B, N+1, H, W), and the result of :func:`presence_evidence`.

    Raises:
        ConfigError: If the model shows no feature map.
    """
    features, shown, ways = model.pair_features(query, support, masks)
    cells = presence_cells(model, shown, ways)
    if cells is None:
        raise ConfigError(f'A {type(model).__name__} shows no feature map by which presence could be judged.')
    logits = model.match(features, model.encode_features(shown, ways), query.shape[-2:])
    return logits, presence_evidence(model, features, logits, cells)

"""Effect of each support on one prediction: with and without it, and which to drop or to add."""
from dataclasses import dataclass
from typing import Optional, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from mmfss.explainers import EmptyRegionError
from .query_explanation import build_explainer
from .query_study import QueryStudy
from .support_selection import AnnotatedImages, SupportSelector
from .support_set import SupportShot


@dataclass(frozen=True)
class SupportEffect:
    """Hold the effect of a support on the prediction of its class.

    Attributes:
        name (str): The support.
        used (bool): Whether it is one of the supports, else a candidate.
        with_it (float): IoU of the class with all supports (and the candidate), 0 to 1.
        without_it (float): The same without it.
        credit (float, optional): Its share in the explanation relative to the mean of all, 1 is average; None if the
            prediction is empty.
    """
    name: str
    used: bool
    with_it: float
    without_it: float
    credit: Optional[float]

    @property
    def gain(self) -> float:
        """What it adds to the IoU, -1 to 1."""
        return self.with_it - self.without_it


@dataclass(frozen=True)
class SupportEffects:
    """Hold the effects of all supports and candidates of a class.

    Attributes:
        rows (list[SupportEffect]): The supports, then the candidates.
        compared_with (str): What IoU is with: ``'truth'``, or ``'prediction'``, the model's own with all supports.
    """
    rows: list[SupportEffect]
    compared_with: str

    def advice(self) -> list[str]:
        """Suggest which support to drop and which candidate to add, in sentences.

        With the truth, IoU decides. Without it, leaving a support out can only make the prediction differ from the
        model's own, so the share in the explanation decides: a support of less than half the average is hardly used.
        """
        used = [row for row in self.rows if row.used]
        candidates = [row for row in self.rows if not row.used]
        sentences = []
        if self.compared_with == 'truth':
            worst = min(used, key=lambda row: row.gain)
            if len(used) > 1 and worst.gain < 0:
                sentences.append(f'Drop {worst.name}: without it the IoU is {-100 * worst.gain:.1f} points higher.')
            best = max(candidates, key=lambda row: row.gain, default=None)
            if best is not None and best.gain > 0:
                sentences.append(f'Add {best.name}: with it the IoU is {100 * best.gain:.1f} points higher.')
        else:
            known = [row for row in used if row.credit is not None]
            worst = min(known, key=lambda row: row.credit, default=None)
            if worst is not None and len(used) > 1 and worst.credit < 0.5:
                sentences.append(f'{worst.name} could be dropped: it has {worst.credit:.2f} of the average share in '
                                 'the explanation.')
            best = max((row for row in candidates if row.credit is not None), key=lambda row: row.credit, default=None)
            if best is not None and best.credit > 1:
                sentences.append(f'{best.name} could be added: it would have {best.credit:.2f} of the average share '
                                 'in the explanation.')
        return sentences or ['Keep the supports as they are.']


def support_effects(study: QueryStudy, way: int, candidates: Sequence[SupportShot] = (),
                    explain: str = 'unmasked_affex') -> SupportEffects:
    """Measure what each support of a class does for a prediction, and each of some further candidates.

    Args:
        study (QueryStudy): The prediction.
        way (int): The class, 0 is the first. Other classes are background.
        candidates (Sequence[SupportShot]): Annotated images that are not among the supports.
        explain (str): Explainer of the credits; its maps are not negative.

    Raises:
        ValueError: If the class has one support and there is no candidate.
    """
    shots = [*study.support.shots[way], *candidates]
    used = len(study.support.shots[way])
    if len(shots) < 2:
        raise ValueError('A single support cannot be left out: give this class another one.')
    model, device = study.inferencer.model, next(study.inferencer.model.parameters()).device
    images = model.data_preprocessor.normalize(torch.stack([shot.network_image for shot in shots]).to(device))
    masks = torch.stack([shot.network_mask for shot in shots]).to(device)
    names = [f'support {number}' for number in range(1, used + 1)]
    names += [f'candidate {number}' for number in range(1, len(candidates) + 1)]
    selector = SupportSelector(model, AnnotatedImages(names, images, masks.long()))
    # The query with its truth, or with the model's own prediction
    labels, compared_with = _labels(study, way)
    query = AnnotatedImages(['query'], study.network_query[None], labels[None])
    everyone = list(range(used))
    choices = [everyone]
    for number in range(len(shots)):
        choices.append([other for other in everyone if other != number] if number < used else [*everyone, number])
    # A single support cannot be left out.
    measured = iter(selector.measure([choice for choice in choices if choice], query))
    whole, *rest = [next(measured) if choice else 0. for choice in choices]
    credits = _credits(selector, explain, query)
    rows = [SupportEffect(name, number < used, *((whole, iou) if number < used else (iou, whole)), credit)
            for number, (name, iou, credit) in enumerate(zip(names, rest, credits))]
    return SupportEffects(rows, compared_with)


def _labels(study: QueryStudy, way: int) -> tuple[Tensor, str]:
    """Return labels (h, w) of the query at network size, 1 for the class."""
    episode = study.episode(way)
    if episode.target is not None:
        return episode.target, 'truth'
    with torch.no_grad():
        logits = study.inferencer.model.logits(episode.query[None], episode.support[None], episode.masks[None])[0]
    return logits.argmax(0), 'prediction'


def _credits(selector: SupportSelector, explain: str, query: AnnotatedImages) -> list[Optional[float]]:
    try:
        return selector.attribution_scores(build_explainer(explain)[1], query)
    except (EmptyRegionError, ValueError):  # Nothing is predicted, or the model has no affinities.
        return [None] * len(selector.pool)


def predict_without(study: QueryStudy, way: int, left_out: int) -> np.ndarray:
    """Predict a class without one of its supports, boolean at the query's size, (H, W).

    Args:
        study (QueryStudy): The prediction.
        way (int): The class, 0 is the first.
        left_out (int): Number of the support, 0 is the first.
    """
    episode = study.episode(way)
    kept = [shot for shot in range(episode.num_shots) if shot != left_out]
    with torch.no_grad():
        logits = study.inferencer.model.logits(
            episode.query[None], episode.support[None][:, :, kept], episode.masks[None][:, :, kept])[0]
    mask = (logits.argmax(0) == 1).cpu().numpy().astype(np.uint8)
    return cv2.resize(mask, study.query.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(bool)

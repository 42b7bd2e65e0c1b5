"""Advice on predictions that may be wrong, computed from what the predictions themselves show.

Every rule states its evidence. Their bounds are no tuned numbers: a probability is compared with one half, a share with
the middle between two extremes, an object with the cells of the feature map.
"""
from dataclasses import asdict, dataclass
from math import exp, log
from typing import Any, Iterator, Mapping, Optional, Sequence

import cv2
import numpy as np
from torch import Tensor

from .presence import PresenceJudge
from .support_set import EncodedSupport


@dataclass(frozen=True)
class ClassEvidence:
    """Hold what a prediction shows about one of its classes.

    Letters: K supports of the class.

    Attributes:
        name (str): Of the class.
        margin (np.ndarray): Logit of the class minus the largest other logit, (h, w); above 0 the class is predicted.
        support_areas (Sequence[float]): Share of each support picture that its mask covers, K numbers.
        support_borders (Sequence[float]): Share of the picture's border that it covers, K numbers.
        largest_cells (Sequence[float], optional): The largest share of a feature cell that each mask covers, K numbers;
            None if the model shows no feature map.
        shares (Sequence[float], optional): Share of each support in the explained prediction, K numbers.
        presence (float, optional): Calibrated probability that the class is in the picture.
        alone (bool): Whether there is no other class and no negative reference.
    """
    name: str
    margin: np.ndarray
    support_areas: Sequence[float]
    support_borders: Sequence[float]
    largest_cells: Optional[Sequence[float]] = None
    shares: Optional[Sequence[float]] = None
    presence: Optional[float] = None
    alone: bool = True


@dataclass(frozen=True)
class Advice:
    """Hold one piece of advice.

    Attributes:
        rule (str): ``'absent'``, ``'threshold'``, ``'spill'``, ``'part'``, ``'support'`` or ``'small'``.
        class_name (str): The class that it is about.
        text (str): What was seen, and what to try.
    """
    rule: str
    class_name: str
    text: str


def advise(evidence: ClassEvidence, threshold: float = 0.5) -> list[Advice]:
    """Apply all rules to one class of a prediction.

    * ``absent``: the class is present with a calibrated probability below 1/2.
    * ``threshold``: no pixel is predicted, although the class is not ``absent``. The threshold is named at which as
      much would be predicted as the supports show on average.
    * ``spill``: the prediction covers more than half of the picture and of its border, which no support mask does.
    * ``part``: a separate part of the prediction is nearer to the threshold than to the certainty of the surest part.
    * ``support``: one of several supports decided more than the middle between an equal share 1/K and all.
    * ``small``: in most supports, no cell of the feature map lies inside the object, so that every feature of the
      object is mixed with its surroundings.

    Args:
        evidence (ClassEvidence): The evidence.
        threshold (float): The model's threshold. Defaults to 0.5.

    Returns:
        list[Advice]: In the order of the rules.

    Example:
        >>> margin = np.full((4, 4), -1.)
        >>> evidence = ClassEvidence('cat', margin, support_areas=[0.25], support_borders=[0.])
        >>> [advice.rule for advice in advise(evidence)]
        ['threshold']
    """
    texts = (('absent', _absent(evidence)), ('threshold', _threshold(evidence, threshold)), ('spill', _spill(evidence)),
             ('part', _part(evidence)), ('support', _support(evidence)), ('small', _small(evidence)))
    return [Advice(rule, evidence.name, text) for rule, text in texts if text is not None]


def _is_absent(evidence: ClassEvidence) -> bool:
    return evidence.presence is not None and evidence.presence < 0.5


def _absent(evidence: ClassEvidence) -> Optional[str]:
    if not _is_absent(evidence):
        return None
    return (f'"{evidence.name}" is probably not in this picture (presence {evidence.presence:.2f}). '
            '--presence-threshold 0.5 leaves such masks empty.')


def _threshold(evidence: ClassEvidence, threshold: float) -> Optional[str]:
    if (evidence.margin > 0).any() or _is_absent(evidence):
        return None
    seen = f'No pixel is "{evidence.name}".'
    if not evidence.alone:
        return f'{seen} Other classes or negative references take all: segment it alone to see more.'
    # The model shifted the logits by its threshold; undone, they are those of the probability.
    shift = log(threshold / (1 - threshold))
    wanted = float(np.quantile(evidence.margin, 1 - np.mean(evidence.support_areas)))
    probability, largest = (1 / (1 + exp(-max(min(value + shift, 30), -30)))
                            for value in (wanted, float(evidence.margin.max())))
    lower = f'--cfg-options model.threshold={probability:.2g} would mark as much as in the examples.'
    return f'{seen} The largest probability is {largest:.2g}, the threshold {threshold:g}. If it is there, {lower}'


def _spill(evidence: ClassEvidence) -> Optional[str]:
    predicted = evidence.margin > 0
    if not _covers(predicted.mean(), border_share(predicted)):
        return None
    if any(map(_covers, evidence.support_areas, evidence.support_borders)):
        return None
    return (f'"{evidence.name}" covers {100 * predicted.mean():.0f} % of the picture and most of its border, unlike in '
            'any example. Show what is not meant: --negative IMAGE MASK, or as a class by --class-support.')


def _covers(area: float, border: float) -> bool:
    return area > 0.5 and border > 0.5


def border_share(mask: np.ndarray) -> float:
    """Compute the share of the border's pixels that a boolean mask (H, W) covers."""
    return float(np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1])).mean())


def _part(evidence: ClassEvidence) -> Optional[str]:
    predicted = (evidence.margin > 0).astype(np.uint8)
    count, labels, statistics, centers = cv2.connectedComponentsWithStats(predicted, connectivity=8)
    if count < 3:  # the background and one part
        return None
    probability = 1 / (1 + np.exp(-np.clip(evidence.margin.astype(np.float64), -30, 30)))
    certainty = np.array([probability[labels == number].mean() for number in range(1, count)])
    areas = statistics[1:, cv2.CC_STAT_AREA]
    # Specks would speak for nothing: a part counts if it has more than its number's share of the prediction.
    doubtful = (certainty < (0.5 + certainty.max()) / 2) & (areas * (count - 1) >= areas.sum())
    if not doubtful.any():
        return None
    worst = int(np.where(doubtful, areas, 0).argmax())
    x, y = (100 * center / side for center, side in zip(centers[worst + 1], predicted.shape[::-1]))
    return (f'The part at {x:.0f} % of the width and {y:.0f} % of the height is less certain than the rest '
            f'({certainty[worst]:.2f}, elsewhere {certainty.max():.2f}). If it is something else, show that as a class '
            'of its own (--class-support) or by --negative IMAGE MASK.')


def _support(evidence: ClassEvidence) -> Optional[str]:
    shares = evidence.shares
    if shares is None or len(shares) < 2 or max(shares) <= (1 + 1 / len(shares)) / 2:
        return None
    number = int(np.argmax(shares))
    return (f'{100 * shares[number]:.0f} % of "{evidence.name}" come from support {number + 1} of {len(shares)}. If '
            'the mask is wrong, look at that example first (supports.png), or add one that looks like this picture.')


def _small(evidence: ClassEvidence) -> Optional[str]:
    cells = evidence.largest_cells
    # A cell counts as inside up to rounding.
    small = [share < 0.999 for share in cells or ()]
    if 2 * sum(small) <= len(small):
        return None
    return (f'"{evidence.name}" is so small in {sum(small)} of {len(small)} examples that it fills no cell of the '
            'feature map. Cut pictures and examples out around the object, or enlarge the input (scale in the config).')


def advise_all(result: Mapping[str, Any], logits: Tensor, support: EncodedSupport, judge: PresenceJudge,
               threshold: float) -> list[dict[str, str]]:
    """Collect the evidence of a prediction, and give advice on each of its classes.

    Args:
        result (Mapping): ``presence`` and, of an explained prediction, ``support_shares``.
        logits (Tensor): At network size, (N+1, h, w).
        support (EncodedSupport): The support set.
        judge (PresenceJudge): Whether presence is calibrated.
        threshold (float): The model's threshold.

    Returns:
        list[dict]: ``rule``, ``class_name`` and ``text`` of each advice.
    """
    return [asdict(advice) for evidence in _evidence(result, logits.float().cpu(), support, judge)
            for advice in advise(evidence, threshold)]


def _evidence(result: Mapping[str, Any], logits: Tensor, support: EncodedSupport,
              judge: PresenceJudge) -> Iterator[ClassEvidence]:
    shares, presence = result.get('support_shares'), result['presence']
    for way, (name, shots) in enumerate(zip(support.class_names, support.shots)):
        others = logits[[label for label in range(len(logits)) if label != way + 1]]
        masks = [shot.mask == 1 for shot in shots]
        weights = None if support.presence is None else support.presence[way].weights.reshape(len(shots), -1)
        yield ClassEvidence(
            name,
            margin=(logits[way + 1] - others.amax(0)).numpy(),
            support_areas=[float(mask.mean()) for mask in masks],
            support_borders=[border_share(mask) for mask in masks],
            largest_cells=None if weights is None else weights.amax(1).tolist(),
            shares=None if shares is None else shares[way],
            presence=None if presence is None or judge.calibration is None else presence[way],
            alone=len(support.class_names) == 1 and not support.num_negatives)

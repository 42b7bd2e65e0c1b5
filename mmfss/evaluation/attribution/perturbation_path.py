"""Supports whose pixels are removed or restored in the order of a ranking, and the scores of these states."""
from dataclasses import dataclass
from hashlib import blake2b
from typing import Hashable, Iterable, Literal, Optional, Sequence

import torch
from torch import Tensor

from mmfss.structures import Episode
from .functional import class_iou, rank_pixels, region_confidence
from .perturbed_episode import PerturbedEpisode, Supports
from .substrates import Substrate

Mode = Literal['ins', 'del']
Span = tuple[int, int]
"""The places in the ranking, from the first to before the second, whose pixels are changed."""


class PerturbationPath:
    """Generate the states between a substrate and the original supports of an episode.

    A pixel of a support is replaced as a whole: three image channels and the mask. The query is not touched, and a
    support without any original pixel still counts as a shot, with an empty mask.

    Args:
        episode (Episode): The unchanged episode.
        values (Tensor): What pixels are ranked by, shape (N, K, H, W).
        mode (str): ``'ins'`` starts from the substrate and puts original pixels back; ``'del'`` starts from the
            original and takes them away. In descending order, equal values in raster order.
        substrate (Substrate): What stands where an original pixel does not.
        way (int, optional): Change the supports of this class alone (0 is the first), the others stay as they are. By
            default all supports.
    """

    def __init__(self, episode: Episode, values: Tensor, mode: Mode, substrate: Substrate,
                 way: Optional[int] = None) -> None:
        self.episode = episode
        self.mode = mode
        self.substrate = substrate
        self.way = way
        self.values = values if way is None else values[way:way + 1]
        self.num_pixels = self.values.numel()
        self._digest = digest(self.values)
        # Pixels that never change have no place in the ranking.
        self._ranks = torch.full(values.shape, -1, dtype=torch.long, device=values.device)
        self._ranks[slice(None) if way is None else slice(way, way + 1)] = rank_pixels(self.values)
        self._images, self._masks = substrate(episode)

    def state(self, span: Span) -> Supports:
        """Return images (N, K, 3, H, W) and masks (N, K, H, W) with a span of the ranking changed."""
        changed = (self._ranks >= span[0]) & (self._ranks < span[1])
        original = changed | (self._ranks < 0) if self.mode == 'ins' else ~changed
        return (torch.where(original[:, :, None], self.episode.support, self._images),
                torch.where(original, self.episode.masks, self._masks))

    def key(self, span: Span) -> Hashable:
        """Return a key that is equal for equal states; if all or nothing is changed, it ignores the ranking."""
        start, stop = span
        changed = None if stop <= start else 'all' if (start <= 0 and stop >= self.num_pixels) else span
        if changed == (None if self.mode == 'del' else 'all'):
            return 'original'
        if changed in (None, 'all'):
            return 'substrate', self.substrate, self.way
        return self.mode, self.substrate, self.way, span, self._digest


@dataclass(frozen=True)
class StateScores:
    """Hold the scores of one state for causal metrics.

    Attributes:
        confidence (list[list[float]]): Mean probability of the N+1 channels in the N regions.
        iou (list[float], optional): IoU of the N classes with the query's labels, if these are known.
    """
    confidence: list[list[float]]
    iou: Optional[list[float]]

    @classmethod
    def of(cls, logits: Tensor, region: Tensor, episode: Episode) -> 'StateScores':
        """Score logits (N+1, h, w); non-finite values make all scores NaN."""
        num_ways = episode.num_ways
        confidence = region_confidence(logits, region)
        if not logits.isfinite().all():
            # A label that wins by being NaN must not look like a prediction.
            return cls([[float('nan')] * (num_ways + 1)] * num_ways, [float('nan')] * num_ways)
        iou = None if episode.target is None else class_iou(logits.argmax(0), episode.target, num_ways)
        return cls(confidence.tolist(), iou)


def remember_states(subject: PerturbedEpisode, plans: Iterable[tuple[PerturbationPath, Sequence[Span]]],
                    region: Tensor) -> None:
    """Predict and score the states of several paths in common batches; scores of earlier states are kept.

    Insertion curves by mIoU and by confidence share all their states, a loss at p per cent shares one with a curve up
    to p per cent, and every explanation starts or ends with the same two.

    Args:
        subject (PerturbedEpisode): The episode, whose ``memo`` takes the scores.
        plans (Iterable[tuple]): Paths of the same episode, each with its states as spans.
        region (Tensor): Boolean, shape (N, h, w).
    """
    about = digest(region)
    states = {(path.key(span), about): (path, span) for path, spans in plans for span in spans}
    missing = {key: state for key, state in states.items() if key not in subject.memo}
    for key, logits in zip(missing, subject.scan(path.state(span) for path, span in missing.values())):
        subject.memo[key] = StateScores.of(logits, region, subject.episode)


def score_states(subject: PerturbedEpisode, path: PerturbationPath, spans: Sequence[Span],
                 region: Tensor) -> list[StateScores]:
    """Return the scores of states of a path, one per span; arguments as :func:`remember_states`."""
    remember_states(subject, [(path, spans)], region)
    about = digest(region)
    return [subject.memo[path.key(span), about] for span in spans]


def digest(tensor: Tensor) -> bytes:
    """Compute a short fingerprint of a tensor's shape and values."""
    array = tensor.detach().cpu().contiguous().numpy()
    return blake2b(array.tobytes() + repr((array.shape, array.dtype.str)).encode(), digest_size=16).digest()

"""A segmentor that one can run in the head: it copies the support masks, where the support image is bright."""
from typing import Any, Optional, Sequence

import torch
from torch import Tensor

from mmfss.evaluation import PerturbedEpisode
from mmfss.models import FeaturePyramid
from mmfss.structures import Episode


class CopyModel:
    """Of class n is each pixel at which a support of class n has mask 1 and value 1, with certainty.

    Args:
        broken (bool): Say NaN where all masks are empty.
    """
    training = False

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.encoded = 0

    def extract_feat(self, images: Tensor) -> FeaturePyramid:
        self.encoded += len(images)
        return FeaturePyramid(((images, ), ))

    def encode_features(self, pyramid: FeaturePyramid, masks: Tensor) -> Tensor:
        states, ways, shots = masks.shape[:3]
        brightness = pyramid[0][0][:, 0].view(ways, states, shots, *masks.shape[-2:]).transpose(0, 1)
        return (brightness * masks).amax(2)

    def match(self, query: FeaturePyramid, evidence: Tensor, size: Sequence[int]) -> Tensor:
        assert query.batch_size == len(evidence) and tuple(size) == tuple(evidence.shape[-2:])
        logits = 200 * torch.cat((torch.full_like(evidence[:, :1], 0.5), evidence), dim=1)
        return logits.masked_fill((evidence == 0).flatten(1).all(1)[:, None, None, None] & self.broken, torch.nan)


def row_episode(masks: Sequence[Any], target: Optional[Sequence[int]] = None) -> Episode:
    """An episode of images that are one row of bright pixels; masks (N, K, W)."""
    masks = torch.tensor(masks, dtype=torch.float32).unsqueeze(2)
    support = torch.ones(*masks.shape[:2], 3, *masks.shape[2:])
    target = None if target is None else torch.tensor(target)[None]
    return Episode(torch.zeros(3, *masks.shape[2:]), support, masks, target)


def row_subject(*args: Any, broken: bool = False, **kwargs: Any) -> PerturbedEpisode:
    """The subject of a :func:`row_episode`."""
    return PerturbedEpisode(CopyModel(broken), row_episode(*args), **kwargs)


def rows(values: Sequence[Any], dtype: torch.dtype = torch.float32) -> Tensor:
    """Maps (N, K, 1, W) of (N, K, W), or regions (N, 1, W) of (N, W)."""
    return torch.tensor(values, dtype=dtype).unsqueeze(-2)


def predicted(subject: PerturbedEpisode) -> Tensor:
    """The predicted region of each class."""
    classes = torch.arange(1, subject.episode.num_ways + 1)[:, None, None]
    return subject.original_logits.argmax(0) == classes

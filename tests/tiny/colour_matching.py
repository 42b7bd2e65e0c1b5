"""A matching model that is understood at a glance: pixels of like colour vote for each other."""
from typing import Iterator, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.models import FeaturePyramid, FewShotSegmentor, MatchingHead
from mmfss.models.affinities import Affinity
from mmfss.structures import Episode
from tests.tiny.model import build_tiny_model

RED, GREEN, BLUE, GREY = (1., 0., 0.), (0., 1., 0.), (0., 0., 1.), (0., 0., 0.)


class ColourAffinity(Affinity):
    """Minus the squared distance of colours, times a sharpness: nothing but :meth:`scores` is its own."""

    def __init__(self, query: Tensor, support: Tensor, num_shots: int, sharpness: float) -> None:
        super().__init__(query.shape[-2:], (num_shots, *support.shape[-2:]))
        self.query = query.flatten(2).transpose(1, 2)
        self.support = support.flatten(2).transpose(1, 2).unflatten(0, (-1, num_shots)).flatten(1, 2)
        self.sharpness = sharpness

    def scores(self, start: int, stop: int) -> Tensor:
        return -self.sharpness * torch.cdist(self.query[:, start:stop], self.support.expand(len(self.query), -1, -1))**2


class ColourHead(MatchingHead):
    """Compares at each of two levels, and averages what the levels say."""

    def __init__(self, sharpness: float = 12.) -> None:
        super().__init__([[3], [3]])
        self.sharpness = sharpness

    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> tuple[FeaturePyramid, Tensor]:
        return support, masks

    def match(self, query: FeaturePyramid, encoding: tuple[FeaturePyramid, Tensor]) -> Iterator[ColourAffinity]:
        support, masks = encoding
        for (query_map, ), (support_map, ) in zip(query, support):
            yield ColourAffinity(query_map, support_map, masks.shape[1], self.sharpness)

    def aggregate(self, affinity: Affinity, encoding: tuple[FeaturePyramid, Tensor]) -> Tensor:
        values = F.interpolate(encoding[1], affinity.support_size[1:]).flatten(1).unsqueeze(-1)
        return affinity.attend(values).transpose(1, 2).unflatten(2, affinity.query_size)

    def decode(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: tuple) -> Tensor:
        foreground = torch.stack([F.interpolate(x, evidence[0].shape[-2:]) for x in evidence]).mean(0)
        return torch.cat((1 - foreground, foreground), dim=1)


class ColourSegmentor(FewShotSegmentor):
    """Features are colours, averaged over 4 x 4 and 8 x 8 pixels."""

    @classmethod
    def build(cls, **kwargs) -> 'ColourSegmentor':
        model = build_tiny_model()
        model.__class__, model.head = cls, ColourHead(**kwargs)
        return model

    def extract_feat(self, inputs: Tensor) -> FeaturePyramid:
        return FeaturePyramid(tuple((F.avg_pool2d(inputs, stride), ) for stride in (4, 8)))


def square(colour: Sequence[float], size: tuple[int, int] = (64, 64), box: tuple[int, int, int, int] = (16, 16, 48, 48),
           seed: int = 0) -> tuple[Tensor, Tensor]:
    """A grey, slightly noisy image (3, H, W) with a coloured box (top, left, bottom, right), and its mask (H, W)."""
    noise = torch.randn(3, *size, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(size)
    top, left, bottom, right = box
    mask[top:bottom, left:right] = 1
    return mask * torch.tensor(colour)[:, None, None] + 0.05 * noise, mask


def episode_of(query: tuple[Tensor, Tensor], supports: Sequence[tuple[Tensor, Tensor]]) -> Episode:
    """A one-way episode of images and masks."""
    images, masks = zip(*supports)
    return Episode(query[0], torch.stack(images)[None], torch.stack(masks)[None], query[1].long())


def share(attribution: Tensor, masks: list[Optional[Tensor]]) -> float:
    """The part of an attribution (K, H, W) that lies inside the masks of its supports."""
    inside = sum((x * mask).sum() for x, mask in zip(attribution, masks) if mask is not None)
    return (inside / attribution.sum()).item()

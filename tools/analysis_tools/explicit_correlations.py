"""HSNet and DMTNet written out, step by step as in the papers: the measure for the heads of this package.

For every support the query is read again and every correlation is held whole.
"""
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.models import CorrelationHead, DMTNetHead, FewShotSegmentor, HSNetHead


class ExplicitHSNet(nn.Module):
    """What a model with a :class:`HSNetHead` computes for one support, without its short cuts.

    Args:
        model (FewShotSegmentor): Gives the backbone and the weights.
    """

    def __init__(self, model: FewShotSegmentor) -> None:
        super().__init__()
        self.model = model
        self.head: HSNetHead = model.head

    def forward(self, query: Tensor, support: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, 2, H, W) of queries (B, 3, H, W) by supports (B, 3, H, W) with masks (B, H, W)."""
        queries = self.head.compared(self.model.extract_feat(query))
        supports = self.head.compared(self.model.extract_feat(support))
        masked = [s * F.interpolate(mask[:, None], s.shape[-2:], mode='bilinear', align_corners=True) for s in supports]
        return learned(self.head, [correlation(q, s) for q, s in zip(queries, masked)], query.shape[-2:])


class ExplicitDMTNet(nn.Module):
    """What a model with a :class:`DMTNetHead` computes for one support, without its short cuts.

    The transformation is a matrix of C x C numbers for every image and layer, applied to all features; each cell is
    compared with the query on its own; foreground and background go through the learner one after the other.

    Args:
        model (FewShotSegmentor): Gives the backbone and the weights.
    """

    def __init__(self, model: FewShotSegmentor) -> None:
        super().__init__()
        self.model = model
        self.head: DMTNetHead = model.head

    def forward(self, query: Tensor, support: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Segment.

        Args:
            query (Tensor): Normalised images, (B, 3, H, W).
            support (Tensor): Normalised images, (B, 3, H, W).
            mask (Tensor): Their masks, (B, H, W).

        Returns:
            tuple[Tensor, Tensor]: Logits for the foreground and for the background, (B, 2, H, W).
        """
        queries = self.head.compared(self.model.extract_feat(query))
        supports = self.head.compared(self.model.extract_feat(support))
        first = num_cells(supports[sum(self.head.layers_of_level[:2])])
        foreground, background = [], []
        for index, (q, s) in enumerate(zip(queries, supports)):
            transformed = self.transform(index, q, s, mask, first)
            foreground.append(correlation(transformed[0], transformed[1]))
            background.append(correlation(transformed[0], transformed[2]))
        return tuple(learned(self.head, side, query.shape[-2:]) for side in (foreground, background))

    def transform(self, index: int, query: Tensor, support: Tensor, mask: Tensor, num_first: int) -> Sequence[Tensor]:
        """Transformed features of one layer: query, foreground of the support, background of the support."""
        fore = F.interpolate(mask[:, None], support.shape[-2:], mode='bilinear', align_corners=True)
        back = 1 - fore
        scores = []
        for weight in (back, fore):
            scores.append(sum(F.cosine_similarity(query, mean(support[box], weight[box])[..., None, None])
                              for box in boxes(support)) * 10 / num_first)
        coarse = torch.stack(scores, dim=1).argmax(1, keepdim=True).float()
        rows = self.head.references(self.head.group_of_layer[index], query.shape[:1])
        own = matrix(mean(query, coarse), mean(query, 1 - coarse), rows[2:], self.head.rcond)
        of_support = matrix(mean(support, back), mean(support, fore), rows[:2], self.head.rcond)
        return (apply(0.5 * own + 0.5 * of_support, query), apply(of_support, support * fore),
                apply(of_support, support * back))

def learned(head: CorrelationHead, correlations: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Logits of the correlations of all layers."""
    levels, start = [], 0
    for count in head.layers_of_level:
        levels.append(torch.stack(correlations[start:start + count], dim=1))
        start += count
    return F.interpolate(head.learner(levels), size, mode='bilinear', align_corners=True)


def starts(side: int) -> list[int]:
    """Where cells of a quarter of a side start."""
    length, found = side // 4, []
    while not found or found[-1] + 2 * length <= side:
        found.append(found[-1] + length if found else 0)
    return found if found[-1] + length == side else [*found, side - length]


def boxes(feature: Tensor) -> list[tuple]:
    """An index for every cell of a map (B, C, h, w)."""
    height, width = feature.shape[-2:]
    return [(..., slice(y, y + height // 4), slice(x, x + width // 4)) for y in starts(height) for x in starts(width)]


def num_cells(feature: Tensor) -> int:
    """Number of cells of a map."""
    return len(boxes(feature))


def mean(feature: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over positions, (B, C)."""
    return (feature * weight).sum((2, 3)) / (weight.sum((2, 3)) + 1e-6)


def matrix(first: Tensor, second: Tensor, rows: Tensor, rcond: float) -> Tensor:
    """The matrix (B, C, C) that sends two prototypes to two rows."""
    both = torch.stack((first, second), dim=1)
    both = both / (both.norm(dim=-1, keepdim=True) + 1e-6)
    return (torch.linalg.pinv(both, rtol=rcond) @ rows).transpose(1, 2)


def apply(transformation: Tensor, feature: Tensor) -> Tensor:
    """A matrix (B, C, C) applied at every position."""
    return (transformation @ feature.flatten(2)).view_as(feature)


def correlation(query: Tensor, support: Tensor) -> Tensor:
    """Cosine similarities of all positions, negative ones set to zero, (B, h, w, h', w')."""
    unit = [x.flatten(2) / (x.flatten(2).norm(dim=1, keepdim=True) + 1e-5) for x in (query, support)]
    return (unit[0].transpose(1, 2) @ unit[1]).clamp(min=0).view(-1, *query.shape[-2:], *support.shape[-2:])

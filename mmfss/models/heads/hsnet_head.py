"""HSNet: hypercorrelation squeeze (Min et al., ICCV 2021)."""
from dataclasses import dataclass
from typing import Iterator

from torch import Tensor

from mmfss.registry import MODELS
from ..affinities import CorrelationAffinity, unit
from ..features import FeaturePyramid
from ..layers import resize_aligned
from ..layers.pytrees import pytree
from .correlation_head import CorrelationHead


@pytree
@dataclass
class HSNetEncoding:
    """Hold the encoding of B support sets of K shots.

    Attributes:
        embeddings (list[Tensor]): Per compared layer the masked unit vectors of all positions, (B, K, h * w, C).
        masks (list[Tensor]): Per compared layer the soft masks, (B, K, h * w).
        sizes (list[tuple[int, int, int]]): Per compared layer (K, h, w).
    """
    embeddings: list[Tensor]
    masks: list[Tensor]
    sizes: list[tuple[int, int, int]]


@MODELS.register_module()
class HSNetHead(CorrelationHead):
    """Squeeze the 4-D correlations of many layers into a mask.

    Support features are multiplied by the mask, resized to their grid. Every layer of the three coarsest levels
    correlates all positions of the query with all of the support (cosine, negative values set to zero). Center-pivot
    4-D convolutions squeeze the support positions of each level, and the levels are merged from coarse to fine. The
    remaining support positions are averaged, and a 2-D decoder gives logits at twice the finest grid.

    Each of K supports gives a prediction, and the predictions vote. The query's features are computed once. Training is
    1-shot.

    Maps need not be square, and query and support may differ in size.

    Args:
        in_channels, shots, support_strides, loss_decode, ignore_index, init_cfg: See :class:`CorrelationHead`.

    Example:
        >>> import torch
        >>> from mmfss.models import FeaturePyramid, HSNetHead
        >>> def pyramid(images):
        ...     # Features of some images at strides 4, 8, 16 and 32, one layer each.
        ...     maps = ((8, 16), (16, 8), (32, 4), (64, 2))
        ...     return FeaturePyramid(tuple((torch.rand(images, width, side, side), ) for width, side in maps))
        >>> head = HSNetHead(in_channels=[[8], [16], [32], [64]]).eval()
        >>> encoding = head.encode_support(pyramid(5), torch.ones(1, 5, 64, 64))  # 5 shots
        >>> query = pyramid(1)
        >>> logits = head(query, encoding)
        >>> logits.shape  # one prediction for each shot
        torch.Size([1, 5, 2, 16, 16])
        >>> head.combine_shots(logits, size=(64, 64)).shape
        torch.Size([1, 2, 64, 64])
    """

    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> HSNetEncoding:
        self.check_support(support, masks)
        num_shots, features = masks.shape[1], self.compared(support)
        soft = {size: resize_aligned(masks, size).flatten(2) for size in support.sizes}
        resized = [soft[tuple(feature.shape[-2:])] for feature in features]
        embeddings = [
            unit(tokens(feature).unflatten(0, (-1, num_shots)) * mask.unsqueeze(-1))
            for feature, mask in zip(features, resized)
        ]
        return HSNetEncoding(embeddings, resized, [(num_shots, *feature.shape[-2:]) for feature in features])

    def match(self, query: FeaturePyramid, encoding: HSNetEncoding) -> Iterator[CorrelationAffinity]:
        supports = zip(encoding.embeddings, encoding.masks, encoding.sizes)
        for feature, (embeddings, mask, size) in zip(self.compared(query), supports):
            matched = unit(tokens(feature)).unsqueeze(1)
            yield CorrelationAffinity(matched, [embeddings], feature.shape[-2:], size, occupied=mask > 0)


def tokens(feature: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C)."""
    return feature.flatten(2).transpose(1, 2)

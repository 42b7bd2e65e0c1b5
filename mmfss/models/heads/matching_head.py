"""Base class of heads that match a query with annotated supports."""
from abc import abstractmethod
from typing import Any, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..affinities import Affinity
from ..features import FeaturePyramid
from .few_shot_head import FewShotHead
from .matched_way import MatchedWay


class MatchingHead(FewShotHead):
    """Segment one class in a query from K annotated supports, in four readable steps.

    ::

        encoding   = encode_support(support pyramid, masks)       once per support set, reusable for any query
        affinities = match(query pyramid, encoding)               one per compared layer: who votes for whom
        evidence   = [aggregate(affinity, encoding), ...]         what the votes say, one tensor per compared layer
        logits     = decode(evidence, query pyramid, encoding)

    A head that implements these steps can be trained, tested and explained. An explainer reads the same affinities
    backwards (:meth:`~mmfss.models.affinities.Affinity.vote`). It measures the effect of a layer by decoding with the
    layer's evidence set to zero (:meth:`layer_effects`).

    Args: See :class:`FewShotHead`.

    Example:
        >>> import torch
        >>> from mmfss.models import FeaturePyramid, MatchingHead
        >>> from mmfss.models.affinities import DotProductAffinity
        >>> class CopyHead(MatchingHead):
        ...     # Copy the support mask to the most similar query positions, by one layer.
        ...     def encode_support(self, support, masks):
        ...         return support[0][0].flatten(2).transpose(1, 2), masks
        ...     def match(self, query, encoding):
        ...         feature, (keys, masks) = query[0][0], encoding
        ...         tokens = feature.flatten(2).transpose(1, 2)
        ...         yield DotProductAffinity(tokens, keys, 1, feature.shape[-2:], tuple(masks.shape[1:]))
        ...     def aggregate(self, affinity, encoding):
        ...         votes = affinity.attend(encoding[1].flatten(1).unsqueeze(-1))
        ...         return votes.transpose(1, 2).unflatten(2, affinity.query_size)
        ...     def decode(self, evidence, query, encoding):
        ...         return torch.cat((1 - evidence[0], evidence[0]), dim=1)
        >>> head = CopyHead(in_channels=[[8]])
        >>> support, query = (FeaturePyramid(((torch.rand(1, 8, 16, 16), ), )) for _ in range(2))
        >>> encoding = head.encode_support(support, torch.ones(1, 1, 16, 16))
        >>> head(query, encoding).shape
        torch.Size([1, 2, 16, 16])
        >>> way = head.matched_way(query, encoding)  # what AffEx reads
        >>> way.layer_effects(torch.ones(1, 16, 16).bool()).shape
        torch.Size([1, 1])
    """

    ablation_batch = 4
    """Ablated layers that :meth:`layer_effects` decodes at a time, for each episode."""

    ablation_references = ('same_shot', )
    """Values of AffEx's option ``ablation_reference`` that :meth:`layer_effects` has. Others than 'same_shot' are
    passed to it by this name."""

    @abstractmethod
    def match(self, query: FeaturePyramid, encoding: Any) -> Iterator[Affinity]:
        """Compare query and supports.

        Args:
            query (FeaturePyramid): Features of B query images.
            encoding (Any): Of B support sets, or of one set that serves all queries.

        Yields:
            Affinity: One per compared layer in network order, made when asked for, so that a caller which lets go of
            each before the next holds one at a time.
        """

    @abstractmethod
    def aggregate(self, affinity: Affinity, encoding: Any) -> Tensor:
        """Turn the votes of one layer into evidence, a tensor (B, ...) that is all zero where there is none."""

    @abstractmethod
    def decode(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: Any) -> Tensor:
        """Turn the evidence of all layers into logits.

        Args:
            evidence (Sequence[Tensor]): Results of :meth:`aggregate`, in the order of :meth:`match`.
            query (FeaturePyramid): Features of the query.
            encoding (Any): Encoding of the supports.

        Returns:
            Tensor: Raw logits (B, 2, h, w) at the head's own output size: background, foreground. A head that segments
            the query with each shot alone gives (B, K, 2, h, w), which :meth:`combine_shots` makes one prediction.
        """

    def forward(self, query: FeaturePyramid, encoding: Any) -> Tensor:
        evidence = [self.aggregate(affinity, encoding) for affinity in self.match(query, encoding)]
        return self.decode(evidence, query, encoding)

    def matched_way(self, query: FeaturePyramid, encoding: Any) -> MatchedWay:
        return MatchedWay(self, query, encoding)

    def layer_effects(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: Any,
                      region: Tensor) -> Tensor:
        """Measure how much each compared layer contributes to the prediction inside a region.

        The effect of a layer is the absolute change of the mean foreground logit of the region when the layer's
        evidence is set to zero (AffEx, feature ablation). Letters: B episodes, L compared layers.

        Args:
            evidence (Sequence[Tensor]): Results of :meth:`aggregate`, in the order of :meth:`match`.
            query (FeaturePyramid): Features of the query.
            encoding (Any): Encoding of the supports.
            region (Tensor): Boolean, shape (B, H, W), no episode's empty, of any size: the logits are resized to it,
                bilinearly with corners not aligned.

        Returns:
            Tensor: Not negative, shape (B, L).
        """
        whole = foreground_mean(self.decode(evidence, query, encoding), region)
        if len(region) > 1:
            # The encoding of B support sets serves B queries: the episodes are decoded together, layer by layer.
            ablated = [self.decode(_without(evidence, layer), query, encoding) for layer in range(len(evidence))]
            return torch.stack([(whole - foreground_mean(x, region)).abs() for x in ablated], dim=1)
        effects = []
        for layers in torch.arange(len(evidence)).split(self.ablation_batch):
            ablated = _each_without(evidence, layers)
            logits = self.decode(ablated, query.expand(len(layers)), encoding)
            effects.append(whole - foreground_mean(logits, region))
        return torch.cat(effects)[None].abs()


def foreground_mean(logits: Tensor, region: Tensor) -> Tensor:
    """Average the foreground logit over a region.

    Args:
        logits (Tensor): Background and foreground, shape (B, 2, h, w).
        region (Tensor): Boolean, shape (B, H, W), or (1, H, W) for all.

    Returns:
        Tensor: Shape (B, ).
    """
    foreground = F.interpolate(logits[:, 1:], region.shape[-2:], mode='bilinear', align_corners=False).squeeze(1)
    return (foreground * region).sum((1, 2)) / region.sum((1, 2))


def _without(evidence: Sequence[Tensor], layer: int) -> list[Tensor]:
    """Set the evidence of one layer to zero."""
    return [torch.zeros_like(x) if index == layer else x for index, x in enumerate(evidence)]


def _each_without(evidence: Sequence[Tensor], layers: Tensor) -> list[Tensor]:
    """Repeat the evidence of one episode as a batch, with layer ``layers[i]`` set to zero in element i."""
    batch = []
    for index, x in enumerate(evidence):
        kept = (layers != index).to(x)
        batch.append(x * kept.view(-1, *[1] * (x.ndim - 1)))
    return batch

"""The contract of heads that segment by matching a query with annotated supports."""
from abc import ABCMeta, abstractmethod
from typing import Any, Iterator, Optional, Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmfss.registry import MODELS
from ..affinities import Affinity
from ..features import FeaturePyramid


class MatchingHead(BaseModule, metaclass=ABCMeta):
    """Segment one class in a query from K annotated supports, in four readable steps.

    ::

        encoding   = encode_support(support pyramid, masks)       once per support set, reusable for any query
        affinities = match(query pyramid, encoding)               one per compared layer: who votes for whom
        evidence   = [aggregate(affinity, encoding), ...]         what the votes say, one tensor per compared layer
        logits     = decode(evidence, query pyramid, encoding)

    A head that implements the steps trains, predicts and is explainable: an explainer reads the same affinities
    backwards (:meth:`~mmfss.models.affinities.Affinity.vote`) and measures a layer by decoding with its evidence set to
    zero (:meth:`layer_effects`).

    A head handles one way; :class:`FewShotSegmentor` combines ways.

    Args:
        in_channels (Sequence[Sequence[int]]): Channels of every map of the feature pyramid, per level from fine to
            coarse. The segmentor fills it in from the backbone.
        loss_decode (dict, optional): Config of an MMSegmentation loss. Defaults to cross entropy, the mean over all
            pixels that are not ignored.
        ignore_index (int, optional): Label that is left out of the loss. None counts ignored pixels (255) as
            background, like the published implementations. Defaults to None.
        init_cfg (dict, optional): Initialisation config.
    """

    ablation_batch = 4
    """Ablated layers that :meth:`layer_effects` decodes at a time, for each episode."""

    def __init__(self,
                 in_channels: Sequence[Sequence[int]],
                 loss_decode: Optional[dict] = None,
                 ignore_index: Optional[int] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.in_channels = tuple(tuple(level) for level in in_channels)
        self.ignore_index = ignore_index
        self.loss_decode = MODELS.build(loss_decode or dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True))

    @abstractmethod
    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> Any:
        """Compute all that depends on the supports alone.

        Args:
            support (FeaturePyramid): Features of B * K support images, the K shots of an episode together.
            masks (Tensor): Support masks in [0, 1], shape (B, K, H, W).

        Returns:
            Any: The head's own encoding of B support sets.
        """

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
        """Logits of a query, as of :meth:`decode`."""
        evidence = [self.aggregate(affinity, encoding) for affinity in self.match(query, encoding)]
        return self.decode(evidence, query, encoding)

    def forward_train(self, query: FeaturePyramid, encoding: Any, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """As :meth:`forward`, with the losses of what the logits do not show.

        Args:
            query (FeaturePyramid): Features of B queries.
            encoding (Any): Encoding of B support sets.
            target (Tensor): Where the query shows this way's class: 1, elsewhere 0, 255 ignored; shape (B, H, W).

        Returns:
            tuple[Tensor, dict[str, Tensor]]: Logits, and the head's own losses by name; by default there are none.
        """
        return self(query, encoding), {}

    def combine_shots(self, logits: Tensor, size: Sequence[int], for_loss: bool = False) -> Tensor:
        """From the result of :meth:`decode` to one prediction, (B, 2, h, w) at the head's own size or at ``size``.

        A head that segments with each shot alone overrides it.

        Args:
            logits (Tensor): Result of :meth:`decode`.
            size (Sequence[int]): Size (H, W) of the query.
            for_loss (bool): Whether a loss will be computed of them, which needs logits.
        """
        return logits

    def layer_effects(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: Any,
                      region: Tensor) -> Tensor:
        """How much each compared layer contributes to the prediction inside a region.

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

    def loss(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            logits (Tensor): Shape (B, N+1, H, W).
            target (Tensor): Labels 0..N, and 255 for ignored pixels, shape (B, H, W).

        Returns:
            dict[str, Tensor]: Scalars by name.
        """
        if self.ignore_index is None:
            target = target.masked_fill(target == 255, 0)
        ignore_index = -100 if self.ignore_index is None else self.ignore_index
        return dict(loss_ce=self.loss_decode(logits, target, ignore_index=ignore_index))


def foreground_mean(logits: Tensor, region: Tensor) -> Tensor:
    """Mean foreground logit of a region.

    Args:
        logits (Tensor): Background and foreground, shape (B, 2, h, w).
        region (Tensor): Boolean, shape (B, H, W), or (1, H, W) for all.

    Returns:
        Tensor: Shape (B, ).
    """
    foreground = F.interpolate(logits[:, 1:], region.shape[-2:], mode='bilinear', align_corners=False).squeeze(1)
    return (foreground * region).sum((1, 2)) / region.sum((1, 2))


def _without(evidence: Sequence[Tensor], layer: int) -> list[Tensor]:
    """Evidence of which one layer is zero."""
    return [torch.zeros_like(x) if index == layer else x for index, x in enumerate(evidence)]


def _each_without(evidence: Sequence[Tensor], layers: Tensor) -> list[Tensor]:
    """A batch of the evidence of one episode, of which element i lacks layer ``layers[i]``."""
    batch = []
    for index, x in enumerate(evidence):
        kept = (layers != index).to(x)
        batch.append(x * kept.view(-1, *[1] * (x.ndim - 1)))
    return batch

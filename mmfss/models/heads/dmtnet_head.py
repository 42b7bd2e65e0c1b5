"""DMTNet: doubly matching transformation (Chen et al., IJCAI 2024)."""
from dataclasses import dataclass
from typing import Iterator, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.registry import MODELS
from ..affinities import CorrelationAffinity, unit
from ..features import FeaturePyramid
from ..layers import resize_aligned
from ..layers.hypercorrelation_learner import SUPPORT_STRIDES
from ..layers.precision import full_precision
from ..layers.pytrees import pytree
from ..layers.self_matching import (
    STABLE_RCOND,
    ReferenceRows,
    cell_starts,
    cells,
    dual_rows,
    metric,
    prototypes,
    unit_rows,
)
from ..losses import pixel_cross_entropy
from .correlation_head import CorrelationHead

BACKGROUND_FLOOR = 1e-6
COARSE_LOSS_DIVISOR = 13
PUBLISHED_GROUPS = (4, 10)
"""First layers, counted from the finest level, of the second and the third group of layers with common references."""


@pytree
@dataclass
class SupportLayer:
    """Hold the encoding of one compared layer for B support sets of K shots; S positions, C channels.

    Attributes:
        size (tuple[int, int, int]): (K, h, w).
        cells (Tensor): Sums of the unit prototypes of all cells, background and foreground, (B, K, 2, C).
        duals (Tensor): Map from features to coordinates, (B, K, 2, C).
        coordinates (Tensor): The support's features in coordinates, (B, K, 2, S).
        masks (Tensor): Soft foreground and background, (B, K, 2, S).
    """
    size: tuple[int, int, int]
    cells: Tensor
    duals: Tensor
    coordinates: Tensor
    masks: Tensor


@MODELS.register_module()
class DMTNetHead(CorrelationHead):
    """Transform the features of each image by its own prototypes, then correlate foreground and background.

    Letters: B episodes, K shots, layers of C channels on grids of Q and S positions.

    1. Compute support prototypes of foreground and background, of the whole map and of each cell (4 x 4 or 5 x 5).
    2. Compute a coarse query mask: a position is foreground if it is more similar to the cells' foreground.
    3. Compute query prototypes with that mask.
    4. Map the two prototypes of each image to two learned rows by a linear transformation. The query uses the mean of
       its own transformation and the support's. The transformation is never applied: coordinates of length 4 replace
       features, see :mod:`~mmfss.models.layers.self_matching`.
    5. Correlate the query with the support's foreground and with its background, and decode both with the same learner
       (see :class:`CorrelationHead`). The foreground gives the prediction. The background is a training signal only.

    Explanations use the sum of both correlations. The losses are ``loss_ce``, ``loss_background`` and ``loss_coarse``
    (of the coarse masks; it has no gradient, and only shifts the sum as published).

    Args:
        dropout (float): Dropout of the learned rows in training. Defaults to 0.2.
        rcond (float): Cut-off of the pseudo-inverse: 1e-5, stable, or 1e-15 as released, see
            :func:`~mmfss.models.layers.self_matching.dual_rows`.
        references (str): Which layers share learned rows: 'level', those of a level (and width); 'published': the four
            finest layers, the next six, and the rest. They agree for ResNet-50, not for the published VGG-16.
        clean_background (bool): Background is one minus the resized mask. Rounding leaves pure foreground a background
            of 6e-8, which the correlation may treat as a match. True sets it to zero. Defaults to False, as published.
        coarse_weight (float): Weight of ``loss_coarse``. Defaults to 0.5.
        one_shot_probabilities (bool): Return probabilities instead of logits for a single shot, as AffEx's reference
            implementation does. Defaults to False.
        in_channels, shots, support_strides, loss_decode, ignore_index, init_cfg: See :class:`CorrelationHead`. AffEx's
            reference implementation takes ``shots='max'``.

    Raises:
        ValueError: If an option is not among those allowed, or layers of one group differ in width.

    Example:
        >>> import torch
        >>> from mmfss.models import FeaturePyramid, DMTNetHead
        >>> def pyramid(images):
        ...     # Features of some images at strides 4, 8, 16 and 32, one layer each.
        ...     maps = ((8, 32), (16, 16), (32, 8), (64, 4))
        ...     return FeaturePyramid(tuple((torch.rand(images, width, side, side), ) for width, side in maps))
        >>> head = DMTNetHead(in_channels=[[8], [16], [32], [64]]).eval()
        >>> encoding = head.encode_support(pyramid(2), torch.ones(1, 2, 128, 128))  # 2 shots
        >>> query = pyramid(1)
        >>> logits = head(query, encoding)
        >>> logits.shape  # one prediction for each shot
        torch.Size([1, 2, 2, 32, 32])
        >>> logits, losses = head.forward_train(query, encoding, target=torch.ones(1, 128, 128).long())
        >>> sorted(losses)
        ['loss_background', 'loss_coarse']
    """

    sides = 2
    ablation_references = ('same_shot', 'last_shot')

    def __init__(self,
                 in_channels: Sequence[Sequence[int]],
                 dropout: float = 0.2,
                 rcond: float = STABLE_RCOND,
                 references: str = 'level',
                 clean_background: bool = False,
                 coarse_weight: float = 0.5,
                 one_shot_probabilities: bool = False,
                 shots: str = 'vote',
                 support_strides: Sequence[Sequence[int]] = SUPPORT_STRIDES,
                 loss_decode: Optional[dict] = None,
                 ignore_index: Optional[int] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(in_channels, shots, support_strides, loss_decode, ignore_index, init_cfg)
        if not 0 < rcond < 1:
            raise ValueError(f'rcond must be between 0 and 1, got {rcond}.')
        self.rcond = rcond
        self.clean_background = clean_background
        self.coarse_weight = coarse_weight
        self.one_shot_probabilities = one_shot_probabilities
        groups = reference_groups(self.in_channels[-3:], references)
        self.group_of_layer = [group for level in groups[::-1] for group in level]
        widths = {group: width for level, of_level in zip(self.in_channels[-3:], groups)
                  for width, group in zip(level, of_level)}
        self.references = ReferenceRows([widths[group] for group in sorted(widths)], dropout)

    # Support

    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> list[SupportLayer]:
        self.check_support(support, masks)
        # Prototypes of thousands of positions are sums, and two rows may be nearly parallel.
        with full_precision(masks.device):
            masks = masks.to(torch.promote_types(support[0][0].dtype, torch.float32))
            soft = {size: self._soft_masks(resize_aligned(masks, size)) for size in support.sizes}
            first = support.sizes[-3]
            scale = 10 / (len(cell_starts(first[0])) * len(cell_starts(first[1])))
            return [self._encode(feature, soft[tuple(feature.shape[-2:])], scale) for feature in self.compared(support)]

    def _soft_masks(self, foreground: Tensor) -> Tensor:
        """Stack background and foreground masks, (B, K, 2, h, w)."""
        background = 1 - foreground
        if self.clean_background:
            background = background.masked_fill(background < BACKGROUND_FLOOR, 0)
        return torch.stack((background, foreground), dim=2)

    def _encode(self, feature: Tensor, soft: Tensor, scale: float) -> SupportLayer:
        num_shots, size = soft.shape[1], feature.shape[-2:]
        features, weights = flat(feature), soft.flatten(0, 1)
        # Prototypes of cells and of the map
        of_cells = prototypes(features, (weights.unsqueeze(2) * cells(size, weights)).flatten(-2))
        of_map = prototypes(features, weights.flatten(-2))
        duals = dual_rows(unit_rows(of_map), self.rcond)
        similar = scale * F.normalize(of_cells, dim=-1, eps=1e-8).sum(2)
        by_shot = [x.unflatten(0, (-1, num_shots)) for x in (similar, duals, duals @ features)]
        return SupportLayer((num_shots, *size), *by_shot, soft.flip(2).flatten(-2))

    # Query

    def match(self, query: FeaturePyramid, encoding: list[SupportLayer]) -> Iterator[CorrelationAffinity]:
        for index, (feature, layer) in enumerate(zip(self.compared(query), encoding)):
            yield self._match(index, feature, layer)

    def _match(self, index: int, feature: Tensor, layer: SupportLayer) -> CorrelationAffinity:
        with full_precision(feature.device):
            coordinates, rows = self.transformed(index, feature, layer)
            to_space = metric(rows)
            matched = unit((to_space @ coordinates).transpose(-1, -2))
            support = to_space[..., :2] @ layer.coordinates
            sides = [unit((support * mask.unsqueeze(2)).transpose(-1, -2)) for mask in layer.masks.unbind(2)]
        return CorrelationAffinity(matched, sides, feature.shape[-2:], layer.size)

    def transformed(self, index: int, feature: Tensor, layer: SupportLayer) -> tuple[Tensor, Tensor]:
        """Transform the query's features of one layer, for the support of each shot.

        Args:
            index (int): The compared layer.
            feature (Tensor): Query features, shape (B, C, h, w).
            layer (SupportLayer): The support's side.

        Returns:
            tuple[Tensor, Tensor]: Coordinates (B, K, 4, Q), and the rows (..., 4, C) they belong to. Of the support's
            coordinates are ``layer.coordinates``, in the first two rows.
        """
        features = flat(feature)
        foreground = (coarse_scores(features, layer).diff(dim=2) > 0).to(features.dtype)
        of_map = prototypes(features, torch.cat((foreground, 1 - foreground), dim=2))
        # Of the query the foreground comes first, of the support the background: trained weights expect it.
        own = dual_rows(unit_rows(of_map), self.rcond)
        duals = torch.cat((layer.duals.expand_as(own), own), dim=2)
        return 0.5 * by_shot(duals, features), self.references(self.group_of_layer[index], own.shape[:2])

    def coarse_scores(self, query: FeaturePyramid, encoding: list[SupportLayer]) -> list[Tensor]:
        """Score background and foreground of the query in all compared layers, (B, K, 2, h, w) each."""
        with full_precision(query[0][0].device):
            return [coarse_scores(flat(feature), layer).unflatten(-1, feature.shape[-2:])
                    for feature, layer in zip(self.compared(query), encoding)]

    # Results

    def forward_train(self, query: FeaturePyramid, encoding: list[SupportLayer],
                      target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits, background = self.logits_of_sides(query, encoding, 2).unbind(2)
        scores = self.coarse_scores(query, encoding)
        coarse = sum(coarse_loss(x, target == 1) for x in scores) / COARSE_LOSS_DIVISOR
        return logits, dict(
            loss_background=self._background_loss(background, target), loss_coarse=self.coarse_weight * coarse)

    def _background_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        opposite = (target != 1).long()
        if self.ignore_index is not None:
            opposite = opposite.masked_fill(target == self.ignore_index, self.ignore_index)
        logits = resize_aligned(logits.flatten(0, 1), target.shape[-2:])
        return self.loss(logits, opposite.repeat_interleave(len(logits) // len(target), dim=0))['loss_ce']

    def combine_shots(self, logits: Tensor, size: Sequence[int], for_loss: bool = False) -> Tensor:
        combined = super().combine_shots(logits, size, for_loss)
        as_probabilities = self.one_shot_probabilities and logits.shape[1] == 1 and not for_loss
        return combined.softmax(1) if as_probabilities else combined

    def layer_effects(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: list[SupportLayer],
                      region: Tensor, ablation_reference: str = 'same_shot') -> Tensor:
        """Measure the effect that AffEx defines for DMTNet.

        The effect is the absolute change of both logits of both sides when a layer is removed from both sides, averaged
        over the logits, the sides, the pixels of the region and the shots. Logits are resized with corners aligned.
        ``ablation_reference='same_shot'`` compares each shot with itself, 'last_shot' all shots with the last one.
        """
        pixels = (region / region.sum((1, 2), keepdim=True))[:, None, None, None]

        def resized(logits: Tensor) -> Tensor:
            return resize_aligned(logits.flatten(0, 2), region.shape[-2:]).view(*logits.shape[:4], *region.shape[-2:])

        whole, *ablated = map(resized, self.ablations(evidence, 2))
        if ablation_reference == 'last_shot':
            whole = whole[:, -1:]
        effects = [((whole - without).abs() * pixels).sum((-2, -1)).mean((1, 2, 3)) for without in ablated]
        return torch.stack(effects, dim=1)


def flat(feature: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, h * w), at least float32."""
    return feature.flatten(2).to(torch.promote_types(feature.dtype, torch.float32))


def by_shot(rows: Tensor, features: Tensor) -> Tensor:
    """Multiply rows (B, K, n, C) of each shot, or (1, K, n, C), with features (B, C, Q) of the query: (B, K, n, Q)."""
    return (rows.flatten(1, 2) @ features).unflatten(1, rows.shape[1:3])


def coarse_scores(features: Tensor, layer: SupportLayer) -> Tensor:
    """Sum the cosine similarities of query features (B, C, Q) with the cells of each side, (B, K, 2, Q)."""
    unit_features = F.normalize(features, dim=1, eps=1e-8)
    return by_shot(layer.cells, unit_features)


def coarse_loss(scores: Tensor, foreground: Tensor) -> Tensor:
    """Compute the cross entropy of coarse scores (B, K, 2, h, w); partly covered target positions are background."""
    target = resize_aligned(foreground[:, None].float(), scores.shape[-2:]).long().expand(-1, scores.shape[1], -1, -1)
    return pixel_cross_entropy(scores.flatten(0, 1), target.flatten(0, 1))


def reference_groups(in_channels: Sequence[Sequence[int]], rule: str) -> list[list[int]]:
    """Assign layers to groups that share reference rows.

    Args:
        in_channels (Sequence[Sequence[int]]): Channels of every layer, levels from fine to coarse.
        rule (str): 'level' or 'published'.

    Returns:
        list[list[int]]: The group of every layer.

    Raises:
        ValueError: If the rule is unknown, or layers of a group differ in width.
    """
    if rule == 'level':
        kinds = list(dict.fromkeys((level, width) for level, widths in enumerate(in_channels) for width in widths))
        return [[kinds.index((level, width)) for width in widths] for level, widths in enumerate(in_channels)]
    if rule != 'published':
        raise ValueError(f"references must be 'level' or 'published', got {rule!r}.")
    # Number of the first layer of each level, then the group of each layer
    firsts = [sum(len(level) for level in in_channels[:index]) for index in range(len(in_channels))]
    groups = [[sum(first + i >= start for start in PUBLISHED_GROUPS) for i in range(len(level))]
              for first, level in zip(firsts, in_channels)]
    kinds = {(group, width) for level, of_level in zip(in_channels, groups) for width, group in zip(level, of_level)}
    if len(kinds) > len({group for group, _ in kinds}):
        raise ValueError(f"references='published' needs layers of one width in each group; the groups {groups} have "
                         f'the widths {[list(level) for level in in_channels]}.')
    return groups

"""ScaleProtoSeg for few shots: multi-scale prototypes computed from the supports, grouped across scales."""
from typing import Iterator, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.registry import MODELS
from ..affinities.prototype_affinity import PrototypeAffinity, memberships
from ..features import FeaturePyramid
from ..layers.clustering import kmeans, pairwise_distances
from ..layers.evidence_decoder import EvidenceDecoder
from ..layers.precision import full_precision
from ..layers.prototype_reading import PrototypeReading
from ..layers.prototypes import downsample_labels, log_similarity
from ..layers.pyramid_scales import PyramidScales, cell_shares
from ..layers.support_prototypes import (
    BACKGROUND,
    FOREGROUND,
    SupportPrototypes,
    log_mean_exp,
    nearest_cells,
    overlap_groups,
    pooled,
)
from .matching_head import MatchingHead

SCALAR_GAIN = 10.
LARGEST_ODDS = 20.
NO_LABEL = -100


@MODELS.register_module()
class FewShotScaleProtoHead(MatchingHead):
    r"""Segment with prototypes of support pixels at several scales, and with groups of these prototypes.

    This is the episodic counterpart of ScaleProtoSeg (Porta et al., WACV 2025). Prototypes and groups are computed from
    the supports instead of learned for each class, so the head works for any class.

    Letters: B episodes, K shots, S scales, M prototypes of a side and scale, D channels; *cells* are positions of the
    finest level, of all shots together.

    1. Every level of the pyramid is a scale: :math:`z_s \in (0, 1)^D`, see :class:`PyramidScales`.
    2. *Prototypes.* The cells of the object, and apart from them those of the background, are clustered at each scale
       by deterministic k-means. A cell belongs to each cluster in proportion to :math:`e^{\gamma a}`, and a prototype
       is the mean of the cells as much as they belong (masked pooling): :math:`p_m = \sum_i R_{mi} z_i`, R being kept.
       With ``snap`` it is the nearest cell itself: the push of ScaleProtoSeg, inside the episode.
    3. *Similarity* of a query cell, :math:`a = \log((\tau_s d + 1) / (\tau_s d + \epsilon))`, d the squared distance.
    4. *Groups.* The cells of a side are clustered once more in all scales at once: the parts of the object. A group
       stands for a part. It is a sparse convex combination G, a row on the simplex, of the prototypes of all scales
       that were made of the part's cells (:func:`overlap_groups`); :math:`\log g_k = \sum_m G_{km} a_m`.
    5. *Prediction.* The score of a side is :math:`l = \log \mathrm{mean}_k\, g_k^\gamma`: all scales of a group must
       agree, any group will do. The log odds of the foreground are :math:`l_f - l_b + \beta`; the logits are minus and
       plus half of them. A small decoder reads only the scores of the scales and groups, and corrects the odds by their
       neighborhood. With ``decoder_channels=0`` there is no decoder, and the mask is a sum over prototypes.

    The cells of all K shots are clustered together, in one pass. Query and support may differ in size, and need not be
    square. A mask that covers everything or nothing leaves one side without prototypes; the score of this side is 0.
    Fewer than M distinct cells yield fewer than M prototypes.

    Compared layers are the scales, fine to coarse; the evidence of one is its similarities, and zero similarity is
    infinite distance. The affinity of a scale goes through its prototypes, see :class:`PrototypeAffinity`: neither in
    prediction nor in explanation is a (query x support) matrix held. :meth:`read` decomposes a prediction.

    Distances, similarities and groups are computed in float32, under autocast too.

    Trained are the projections, the decoder, and a few numbers (gamma, tau, beta, and two of the grouping). Losses:
    ``loss_ce`` of the logits, ``loss_groups`` of the odds without the decoder, and ``loss_scales`` of the memberships
    of each scale. The last two make groups and scales predictive on their own.

    Args:
        in_channels (Sequence[Sequence[int]]): See :class:`MatchingHead`. The grid is that of the finest level; a
            feature reader with smaller ``num_levels`` makes it coarser.
        scale_channels (int): D, a multiple of 4. Defaults to 64.
        prototypes_per_scale (Sequence[int]): M of foreground and background. Defaults to (4, 6).
        num_groups (Sequence[int]): Groups of foreground and background. Defaults to (4, 6).
        num_iterations (int): Steps of k-means. Defaults to 10.
        focus (float, optional): How sparse groups are, see :func:`overlap_groups`. By default it is learned, from 1,
            and falls: groups take in more.
        snap (bool): Whether prototypes are support cells, not means of them. Defaults to False.
        epsilon (float, optional): Of the similarity. Defaults to 1e-2, with ``snap`` to 1e-4.
        sharpness (float): First value of gamma. Defaults to 4.
        decoder_channels (int): Width of the decoder, a multiple of 4; 0 for none. Defaults to 32.
        foreground_weight (float): Weight of the object's pixels in all losses; more than 1 since the object is small,
            and a class that is new is less similar to itself than those trained on. Defaults to 1.
        group_weight (float): Weight of ``loss_groups``. Defaults to 0.4.
        scale_weight (float): Weight of ``loss_scales``. Defaults to 0.4.
        loss_decode (dict, optional): See :class:`MatchingHead`; it must take weights of pixels.
        ignore_index, init_cfg: See :class:`MatchingHead`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> from mmfss.models import FeaturePyramid, FewShotScaleProtoHead
        >>> def pyramid(images):
        ...     # Features of some images at strides 4, 8, 16 and 32, one layer each.
        ...     maps = ((8, 16), (16, 8), (32, 4), (64, 2))
        ...     return FeaturePyramid(tuple((torch.rand(images, width, side, side), ) for width, side in maps))
        >>> head = FewShotScaleProtoHead(in_channels=[[8], [16], [32], [64]], scale_channels=8).eval()
        >>> encoding = head.encode_support(pyramid(5), torch.ones(1, 5, 64, 64))  # 5 shots
        >>> query = pyramid(1)
        >>> head(query, encoding).shape
        torch.Size([1, 2, 16, 16])
        >>> reading = head.read(query, encoding)  # similarity of every query cell to every prototype, scale by scale
        >>> reading.similarities.shape
        torch.Size([1, 4, 10, 16, 16])
    """

    def __init__(self,
                 in_channels: Sequence[Sequence[int]],
                 scale_channels: int = 64,
                 prototypes_per_scale: Sequence[int] = (4, 6),
                 num_groups: Sequence[int] = (4, 6),
                 num_iterations: int = 10,
                 focus: Optional[float] = None,
                 snap: bool = False,
                 epsilon: Optional[float] = None,
                 sharpness: float = 4.,
                 decoder_channels: int = 32,
                 foreground_weight: float = 1.,
                 group_weight: float = 0.4,
                 scale_weight: float = 0.4,
                 loss_decode: Optional[dict] = None,
                 ignore_index: Optional[int] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(in_channels, loss_decode, ignore_index, init_cfg)
        # Check the arguments
        for name, counts in dict(prototypes_per_scale=prototypes_per_scale, num_groups=num_groups).items():
            if len(counts) != 2 or min(counts) < 1:
                raise ValueError(f'{name} must be a number of foreground and one of background, at least 1 each, got '
                                 f'{counts}.')
        epsilon = epsilon if epsilon is not None else 1e-4 if snap else 1e-2
        if not 0 < epsilon < 1:
            raise ValueError(f'epsilon must be between 0 and 1, got {epsilon}.')
        if min(sharpness, foreground_weight, 1. if focus is None else focus) <= 0:
            raise ValueError('sharpness, focus and foreground_weight must be above 0, got '
                             f'{sharpness}, {focus} and {foreground_weight}.')
        if min(num_iterations, decoder_channels, group_weight, scale_weight) < 0:
            raise ValueError('num_iterations, decoder_channels, group_weight and scale_weight must not be negative, '
                             f'got {num_iterations}, {decoder_channels}, {group_weight} and {scale_weight}.')
        # Options
        self.prototypes_per_scale = tuple(prototypes_per_scale)
        self.num_groups = tuple(num_groups)
        self.num_iterations = num_iterations
        self.snap = snap
        self.epsilon = epsilon
        self.foreground_weight = foreground_weight
        self.group_weight = group_weight
        self.scale_weight = scale_weight

        # Learned parts
        self.num_scales = len(self.in_channels)
        self.scales = PyramidScales(self.in_channels, scale_channels)
        self.temperature = PositiveNumbers([1.] * self.num_scales)
        self.sharpness = PositiveNumbers([sharpness])
        self.fixed_focus = focus
        self.focus = PositiveNumbers([1.]) if focus is None else None
        self.preference = nn.Parameter(torch.zeros(2, self.num_scales))
        self.scaled_bias = nn.Parameter(torch.zeros(1))
        self.decoder = EvidenceDecoder(2 * self.num_scales + 2, decoder_channels) if decoder_channels else None

    # Support

    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> SupportPrototypes:
        cells, size = self.cells(support, masks.shape[1]), (masks.shape[1], *support.sizes[0])
        with full_precision(masks.device):
            foreground = cell_shares(masks, size[1:])
            return SupportPrototypes.join([
                self._encode_side(cells, foreground, FOREGROUND, size),
                self._encode_side(cells, 1 - foreground, BACKGROUND, size)
            ])

    def _encode_side(self, cells: Tensor, weights: Tensor, side: int, size: tuple[int, int, int]) -> SupportPrototypes:
        """Compute prototypes and groups of cells (B, S, N, D) with weights (B, N)."""
        # Cluster the cells at each scale
        by_scale = weights[:, None].expand(-1, self.num_scales, -1)
        clusters = kmeans(cells.flatten(0, 1), by_scale.flatten(0, 1), self.prototypes_per_scale[side],
                          self.num_iterations)
        centres, exists = (x.unflatten(0, by_scale.shape[:2]) for x in clusters)
        # Pool the cells of each cluster into a prototype
        belongs = memberships(self.similarities(cells, centres, exists), exists, self.sharpness())
        vectors, assignments = pooled(cells, by_scale, belongs)
        sources = nearest_cells(pairwise_distances(cells, vectors), by_scale)
        if self.snap:
            assignments = torch.zeros_like(assignments).scatter_(3, sources[..., None], 1.) * exists[..., None]
            vectors = assignments @ cells

        # Link prototypes of all scales to parts
        parts, parts_exist = self._parts(cells, weights, self.num_groups[side])
        focus = self.fixed_focus if self.focus is None else self.focus()
        groups = overlap_groups(assignments, exists, parts, parts_exist, focus, self.preference[side])
        of_prototype, of_group = (sources.new_full((numbers[side], ), side) for numbers in (
            self.prototypes_per_scale, self.num_groups))
        return SupportPrototypes(
            vectors, exists, assignments, sources, groups, parts_exist, of_prototype, of_group, size)

    def _parts(self, cells: Tensor, weights: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Compute how much each cell belongs to each part, (B, G, N), and which parts exist, (B, G)."""
        centres, exists = kmeans(cells.transpose(1, 2).flatten(2), weights, number, self.num_iterations)
        centres = centres.unflatten(2, (self.num_scales, -1)).transpose(1, 2)
        distances = self._scaled(pairwise_distances(cells, centres)).mean(1)
        return memberships(log_similarity(distances, self.epsilon), exists, self.sharpness()), exists

    def cells(self, pyramid: FeaturePyramid, num_shots: int = 1) -> Tensor:
        """Embed the cells of B * K images, (B, S, K * h * w, D)."""
        maps = self.scales(pyramid.levels).unflatten(0, (-1, num_shots))
        return maps.permute(0, 2, 1, 4, 5, 3).flatten(2, 4)

    def similarities(self, cells: Tensor, vectors: Tensor, exists: Tensor) -> Tensor:
        """Compute similarities of cells (B, S, N, D) to prototypes (B, S, P, D), 0 for missing ones, (B, S, P, N)."""
        return log_similarity(self._scaled(pairwise_distances(cells, vectors)), self.epsilon) * exists[..., None]

    def _scaled(self, distances: Tensor) -> Tensor:
        return self.temperature()[:, None, None] * distances

    # Query

    def match(self, query: FeaturePyramid, encoding: SupportPrototypes) -> Iterator[PrototypeAffinity]:
        cells = self.cells(query)
        with full_precision(cells.device):
            sharpness = self.sharpness()
            similarities = self.similarities(cells, encoding.vectors, encoding.exists)
        for scale in range(self.num_scales):
            yield PrototypeAffinity(similarities[:, scale], encoding.assignments[:, scale], encoding.exists[:, scale],
                                    sharpness, query.sizes[0], encoding.size)

    def aggregate(self, affinity: PrototypeAffinity, encoding: SupportPrototypes) -> Tensor:
        """Return the similarities of one scale, (B, P, h, w)."""
        return affinity.similarities.unflatten(2, affinity.query_size)

    def decode(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: SupportPrototypes) -> Tensor:
        return self._logits(*self._said(evidence, encoding))

    def _said(self, evidence: Sequence[Tensor], encoding: SupportPrototypes) -> tuple[Tensor, Tensor]:
        """Compute the groups' odds (B, h, w), and the scores of scales and groups by side, (B, 2 S + 2, h, w)."""
        with full_precision(evidence[0].device):
            sharpness = self.sharpness()
            sides = [log_mean_exp(sharpness * scale, encoding.of_side(side)[:, index])
                     for index, scale in enumerate(evidence) for side in (FOREGROUND, BACKGROUND)]
            groups = self._sides(self.group_activations(evidence, encoding), encoding)
            odds = groups[:, 0] - groups[:, 1] + SCALAR_GAIN * self.scaled_bias
            return odds, torch.cat((torch.stack(sides, dim=1), groups), dim=1)

    def group_activations(self, evidence: Sequence[Tensor], encoding: SupportPrototypes) -> Tensor:
        """Compute log g of all groups, (B, G, h, w)."""
        return sum((encoding.groups[:, :, index] @ scale.flatten(2)).unflatten(2, scale.shape[-2:])
                   for index, scale in enumerate(evidence))

    def _sides(self, activations: Tensor, encoding: SupportPrototypes) -> Tensor:
        """Combine the activations of the groups into a score of each side, (B, 2, h, w)."""
        return torch.stack([log_mean_exp(self.sharpness() * activations, encoding.groups_of_side(side))
                            for side in (FOREGROUND, BACKGROUND)], dim=1)

    def _logits(self, odds: Tensor, said: Tensor) -> Tensor:
        if self.decoder is not None:
            odds = odds + self.decoder(said / self.sharpness())
        return torch.stack((-odds / 2, odds / 2), dim=1)

    # Training

    def forward_train(self, query: FeaturePyramid, encoding: SupportPrototypes,
                      target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        affinities = list(self.match(query, encoding))
        odds, said = self._said([self.aggregate(affinity, encoding) for affinity in affinities], encoding)
        labels, losses = downsample_labels(target, query.sizes[0]), {}
        if self.group_weight:
            losses['loss_groups'] = self.group_weight * self._odds_loss(odds, labels)
        if self.scale_weight:
            terms = [self._odds_loss(membership_odds(x, encoding), labels) for x in affinities]
            losses['loss_scales'] = self.scale_weight * torch.stack(terms).mean()
        return self._logits(odds, said), losses

    def _odds_loss(self, odds: Tensor, labels: Tensor) -> Tensor:
        """Compute the weighted cross entropy of foreground log odds (B, h, w); labels 0, 1, 255 at the cells."""
        with full_precision(odds.device):
            terms = F.binary_cross_entropy_with_logits(odds, (labels == 1).to(odds.dtype), reduction='none')
            counted = labels != (NO_LABEL if self.ignore_index is None else self.ignore_index)
            return (self._pixel_weights(labels) * counted * terms).sum() / counted.sum().clamp(min=1)

    def loss(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        weights = self._pixel_weights(target)
        if self.ignore_index is None:
            target = target.masked_fill(target == 255, 0)
        ignore_index = NO_LABEL if self.ignore_index is None else self.ignore_index
        options = self.loss_options(target, ignore_index)
        return dict(loss_ce=self.loss_decode(logits, target, weight=weights, **options))

    def _pixel_weights(self, labels: Tensor) -> Tensor:
        objects = (labels > 0) & (labels != 255)
        return 1 + (self.foreground_weight - 1) * objects.float()

    # Interpretation

    @torch.no_grad()
    def read(self, query: FeaturePyramid, encoding: SupportPrototypes) -> PrototypeReading:
        """Decompose a prediction into the contributions of prototypes and groups, with their support cells.

        Args:
            query (FeaturePyramid): Features of B queries.
            encoding (SupportPrototypes): Of B support sets, or of one set that serves all queries.

        Returns:
            PrototypeReading: Similarities, activations, odds and logits; its methods compute contributions.
        """
        evidence = [self.aggregate(affinity, encoding) for affinity in self.match(query, encoding)]
        with full_precision(evidence[0].device):
            activations = self.group_activations(evidence, encoding)
            odds, said = self._said(evidence, encoding)
            return PrototypeReading(encoding, torch.stack(evidence, dim=1), activations, said[:, -2:], odds,
                                    self._logits(odds, said), self.sharpness(), SCALAR_GAIN * self.scaled_bias)


class PositiveNumbers(nn.Module):
    """Hold learned numbers above 0.

    Adam moves every weight by about the learning rate, which is little for a single number. Therefore the stored weight
    is a tenth of the logarithm.

    Args:
        initial (Sequence[float]): Their first values.
    """

    def __init__(self, initial: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(initial, dtype=torch.float32).log() / SCALAR_GAIN)

    def forward(self) -> Tensor:
        return (SCALAR_GAIN * self.weight).exp()


def membership_odds(affinity: PrototypeAffinity, encoding: SupportPrototypes) -> Tensor:
    """Compute the log odds of foreground membership by one scale alone, limited to +-20, (B, h, w)."""
    logits = affinity.sharpness * affinity.similarities
    sides = [logits.masked_fill(~(affinity.exists & (encoding.side == side))[..., None], torch.finfo(logits.dtype).min)
             for side in (FOREGROUND, BACKGROUND)]
    odds = sides[0].logsumexp(1) - sides[1].logsumexp(1)
    return odds.clamp(-LARGEST_ODDS, LARGEST_ODDS).unflatten(1, affinity.query_size)

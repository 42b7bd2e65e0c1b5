"""INSID3: training-free in-context segmentation with one frozen encoder (CVPR 2026)."""
from dataclasses import dataclass
from math import sqrt
from typing import Any, Iterator, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.registry import MODELS
from ..affinities import CosineAffinity, DotProductAffinity
from ..affinities.affinity import CHUNK_SIZE
from ..features import FeaturePyramid
from ..layers.cell_clusters import CellClusters
from ..layers.exporting import exporting
from ..layers.mask_cells import mask_cells, soft_cells
from ..layers.precision import full_precision
from ..layers.pytrees import pytree
from ..layers.resizing import resize_unaligned
from .matching_head import MatchingHead

FALLBACK_QUANTILE = 0.9
SCREENED = 8
"""Of so many background cells, one is compared first."""
SOFTNESS = 0.1
"""Temperature of the relaxed decisions."""


@pytree
@dataclass
class INSID3Encoding:
    """Hold the encoding of B support sets of K shots.

    Attributes:
        keys (Tensor): Unit vectors D of all cells, shot by shot, (B, K * h * w, C).
        masks (Tensor): Cells of the object, 0 and 1 (or the soft masks of the relaxed form), (B, K, h * w).
        prototype (Tensor): Unit vector p of the object, 0 where every mask is empty, (B, C).
        size (tuple[int, int, int]): (K, h, w).
    """
    keys: Tensor
    masks: Tensor
    prototype: Tensor
    size: tuple[int, int, int]


@dataclass(frozen=True)
class INSID3Reading:
    """Hold the decisions on one query of Q cells, which falls into n clusters.

    Attributes:
        forward (Tensor): Cosine f of each cell with the prototype, shape (Q, ).
        candidates (Tensor): Cells that match in both directions, bool, shape (Q, ).
        clusters (CellClusters): The clusters.
        seed (int, optional): The cluster that the mask grows from; None without a candidate.
        ratios (Tensor): Share of candidates in each cluster, before the seed counts as whole, shape (n, ).
        scores (Tensor): Score of each cluster, 0 without a candidate, shape (n, ).
        kept (Tensor): Clusters of the mask, bool, shape (n, ).
    """
    forward: Tensor
    candidates: Tensor
    clusters: CellClusters
    seed: Optional[int]
    ratios: Tensor
    scores: Tensor
    kept: Tensor


@MODELS.register_module()
class INSID3Head(MatchingHead):
    r"""Match query and supports in both directions, and grow the matched cells to clusters of the query.

    It needs :class:`~mmfss.models.features.DebiasedFeatures`, which gives each cell a unit vector X, and a unit vector
    D without the directions that encode the position. X compares cells within the query, D across images.

    1. *Prototype.* p is the normalized mean over the shots of the mean D of their object's cells.
    2. *Forward.* A query cell t matches if :math:`f(t) = p \cdot D_t > 0`; if none does, those above the 0.9 quantile.
    3. *Backward.* In each shot, t votes for the object if the most similar of all support cells lies in the mask. At
       least half of the shots must agree. Cells that match in both directions are candidates.
    4. *Clusters.* The query's cells are clustered by average linkage on X, as long as the mean cosine exceeds tau.
    5. *Seed.* Of the clusters with a candidate, the one whose normalized mean D is most similar to p.
    6. *Growth.* A cluster's score is its mean f, times the cosine of its mean X with the seed's, times its share of
       candidates (1 for the seed). Clusters that score more than alpha are the mask.

    The mask is resized bilinearly to the query; where it exceeds one half, the pixel is foreground. The foreground
    logit is the resized mask minus one half, times 1 plus the cluster's score, so that several classes are ranked by
    score.

    Clusters depend on the query alone: they are computed once per query and shared by its classes and by perturbed
    supports (:meth:`FeaturePyramid.once`). With Q and S cells of query and supports, matching takes time O(Q S C) and
    memory O(Q + S), clustering time O(Q^2 C) and memory of Q^2 / 2 doubles. Both compute in float32, under autocast
    too. A shot with an empty mask is skipped; with none left, or without a candidate, all is background.

    *Relaxed form* (AffEx's implementation). The decisions have no gradient. Explainers that need one get the logit
    :math:`\pi = \sigma(f / 0.1) \cdot \mathrm{mean}_k \sum_j \mathrm{softmax}_j(D_t \cdot D_{kj} / 0.1)\, m_{kj}`
    instead, with soft masks m and without clusters (:meth:`use_differentiable_form`).

    *Matches alone.* Average linkage merges one pair of cells after the other, which no exported graph can hold. An
    exported model predicts the candidates of step 3 (:meth:`use_exportable_form`).

    *Adapter.* With ``adapter_channels``, D passes through a 3 x 3 convolution, ReLU and a 1 x 1 convolution, which are
    trained with the relaxed form. Otherwise there is nothing to train.

    Args:
        in_channels (Sequence[Sequence[int]]): Channels of X and D, one level; filled in by the segmentor.
        similarity (float): tau. Defaults to 0.6.
        merge_threshold (float): alpha. Defaults to 0.2.
        adapter_channels (int, optional): Width of the adapter. Defaults to None: no adapter.
        loss_decode, ignore_index, init_cfg: See :class:`MatchingHead`.

    Raises:
        ValueError: If the reader gives other maps, or an adapter is to read compact ones.

    Example:
        >>> import torch
        >>> from mmfss.models import FewShotSegmentor
        >>> model = FewShotSegmentor(
        ...     backbone=dict(type='mmpretrain.ResNet', depth=18),
        ...     features=dict(type='DebiasedFeatures', num_components=30),
        ...     head=dict(type='INSID3Head')).eval()
        >>> model.head.training_free
        True
        >>> query, support, masks = torch.rand(1, 3, 256, 256), torch.rand(1, 1, 2, 3, 256, 256), torch.zeros(
        ...     1, 1, 2, 256, 256)
        >>> masks[..., 64:192, 64:192] = 1
        >>> with torch.no_grad():
        ...     logits = model.logits(query, support, masks)
        >>> logits.shape
        torch.Size([1, 2, 256, 256])
    """

    training_free = True

    def __init__(self,
                 in_channels: Sequence[Sequence[int]],
                 similarity: float = 0.6,
                 merge_threshold: float = 0.2,
                 adapter_channels: Optional[int] = None,
                 loss_decode: Optional[dict] = None,
                 ignore_index: Optional[int] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(in_channels, loss_decode, ignore_index, init_cfg)
        if [len(level) for level in self.in_channels] != [2]:
            raise ValueError("INSID3Head reads the two maps of features=dict(type='DebiasedFeatures'), got channels "
                             f'{self.in_channels}.')
        self.similarity = similarity
        self.merge_threshold = merge_threshold
        self._relaxed = False
        self._matches_alone = False
        self.adapter = None
        if adapter_channels is not None:
            raw, debiased = self.in_channels[0]
            if raw != debiased:
                raise ValueError('The adapter needs all channels: set features.compact=False.')
            self.training_free = False
            self.adapter = nn.Sequential(
                nn.Conv2d(debiased, adapter_channels, 3, padding=1), nn.ReLU(),
                nn.Conv2d(adapter_channels, adapter_channels, 1))

    @property
    def relaxed(self) -> bool:
        """Whether the head computes the relaxed form, as it does while an adapter is trained."""
        return self._relaxed or (self.training and self.adapter is not None)

    def use_differentiable_form(self) -> str:
        self._relaxed = True
        return 'relaxed form (INSID3: soft matches, no clusters)'

    def use_exportable_form(self) -> str:
        self._matches_alone = True
        return 'matches in both directions, without clusters (INSID3 clusters step by step, which no graph can hold)'

    def debiased(self, pyramid: FeaturePyramid) -> Tensor:
        """Return D, adapted if there is an adapter, (B, C, h, w)."""
        debiased = pyramid[0][1]
        return debiased if self.adapter is None else F.normalize(self.adapter(debiased), dim=1, eps=1e-12)

    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> INSID3Encoding:
        with full_precision(masks.device):
            debiased = self.debiased(support)
            size = tuple(debiased.shape[-2:])
            keys = tokens(debiased).unflatten(0, masks.shape[:2])
            cells = (soft_cells if self.relaxed else mask_cells)(masks, size).flatten(2).to(keys.dtype)
            # The mean of the shots' means; shots without the object are left out.
            areas = cells.sum(2, keepdim=True)
            means = (cells.unsqueeze(2) @ keys).squeeze(2) / areas.clamp(min=1e-6)
            prototype = F.normalize(means.sum(1) / (areas > 0).sum(1).clamp(min=1), dim=-1, eps=1e-12)
        return INSID3Encoding(keys.flatten(1, 2), cells, prototype, (masks.shape[1], *size))

    def match(self, query: FeaturePyramid, encoding: INSID3Encoding) -> Iterator[CosineAffinity]:
        with full_precision(encoding.keys.device):
            debiased = self.debiased(query)
        yield CosineAffinity(tokens(debiased), encoding.keys, debiased.shape[-2:], encoding.size)

    def aggregate(self, affinity: CosineAffinity, encoding: INSID3Encoding) -> Tensor:
        """Select the candidates, 1 or 0 (relaxed: how much a cell matches), (B, 1, h, w)."""
        forward = forward_match(affinity.query, encoding.prototype)
        if self.relaxed:
            matches = torch.sigmoid(forward / SOFTNESS) * self._soft_votes(affinity, encoding)
        else:
            matches = self._candidates(affinity, encoding, forward)
        return matches.unflatten(1, (1, *affinity.query_size))

    @torch.no_grad()
    def _candidates(self, affinity: CosineAffinity, encoding: INSID3Encoding, forward: Tensor) -> Tensor:
        """Match in both directions, (B, h * w); backward only those cells that match forward, which saves time."""
        matches = forward > 0
        high = forward > forward.quantile(FALLBACK_QUANTILE, dim=1, keepdim=True)
        matches = matches | (high & ~matches.any(1, keepdim=True))
        if exporting():
            return (matches & self._agreed(affinity, encoding.masks)).to(forward.dtype)
        candidates = torch.zeros_like(forward)
        for index, masks in enumerate(encoding.masks.expand(len(forward), -1, -1)):
            num_shots, cells = int(masks.any(1).sum()), matches[index].nonzero()[:, 0]
            if num_shots:
                votes = object_votes(affinity.part(index, cells), masks.bool()).sum(0)
                candidates[index, cells] = (votes >= (num_shots + 1) // 2).to(candidates)
        return candidates

    @staticmethod
    def _agreed(affinity: CosineAffinity, masks: Tensor) -> Tensor:
        """Check where at least half of the shots vote for the object, (B, h * w): all cells are compared with all."""
        nearest = affinity.nearest(masks.shape[1]).transpose(1, 2)
        votes = masks.expand(nearest.shape[0], -1, -1).gather(2, nearest).sum(1)
        num_shots = masks.any(2).sum(1, keepdim=True)
        return (num_shots > 0) & (votes >= (num_shots + 1) // 2)

    def decode(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: INSID3Encoding) -> Tensor:
        """Return logits (B, 2, h, w): background 0, foreground plus or minus (1 + score) / 2 of the cell's cluster."""
        foreground = evidence[0]
        if self._matches_alone:
            foreground = foreground - 0.5
        elif not self.relaxed:
            foreground = torch.stack([
                (kept_cells(reading) - 0.5) * (1 + reading.scores.clamp(min=0))[reading.clusters.labels]
                for reading in self.read(evidence, query, encoding)
            ]).view_as(foreground)
        return torch.cat((torch.zeros_like(foreground), foreground), dim=1)

    @torch.no_grad()
    def read(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: INSID3Encoding) -> list[INSID3Reading]:
        """Decide on each of B queries; arguments as :meth:`decode`."""
        # One query may serve all support sets, and one support set all queries.
        clusters, directions = self.clusters(query), self._cluster_directions(query)
        forward = forward_match(tokens(self.debiased(query)), encoding.prototype)
        return [
            self._grow(clusters[index % len(clusters)], directions[index % len(clusters)], *decisions,
                       encoding.prototype[index % len(encoding.prototype)])
            for index, decisions in enumerate(zip(forward, evidence[0].flatten(1) > 0))
        ]

    def clusters(self, query: FeaturePyramid) -> list[CellClusters]:
        """Cluster the cells of each query, or of the one query that was expanded to a batch; computed once."""
        return query.once(('INSID3 clusters', self.similarity), lambda source: [
            CellClusters.of(cells.detach(), self.similarity) for cells in tokens(source[0][0])])

    def _cluster_directions(self, query: FeaturePyramid) -> list[Tensor]:
        """Compute the unit vector of the mean D of each cluster, (n, C), for each query of :meth:`clusters`."""

        def compute(source: FeaturePyramid) -> list[Tensor]:
            pairs = zip(self.clusters(source), tokens(self.debiased(source)))
            return [F.normalize(clusters.mean(cells), dim=-1, eps=1e-12) for clusters, cells in pairs]

        # The weights of an adapter may change while the features live.
        return query.once(('INSID3 directions', self.similarity), compute) if self.adapter is None else compute(
            query.source)

    def _grow(self, clusters: CellClusters, directions: Tensor, forward: Tensor, candidates: Tensor,
              prototype: Tensor) -> INSID3Reading:
        """Choose the seed and score the clusters, whose mean D have the given ``directions`` (n, C)."""
        ratios = clusters.mean(candidates.to(forward.dtype))
        if not candidates.any():
            none = torch.zeros_like(ratios)
            return INSID3Reading(forward, candidates, clusters, None, ratios, none, none.bool())
        seed = int((directions @ prototype).masked_fill(ratios == 0, -torch.inf).argmax())
        shares = ratios.index_fill(0, torch.tensor([seed], device=ratios.device), 1)
        scores = clusters.mean(forward) * (clusters.directions @ clusters.directions[seed]) * shares
        return INSID3Reading(forward, candidates, clusters, seed, ratios, scores, scores > self.merge_threshold)

    def _soft_votes(self, affinity: CosineAffinity, encoding: INSID3Encoding) -> Tensor:
        """Average the soft votes of the shots for the object, (B, h * w)."""
        num_shots = encoding.masks.any(2).sum(1, keepdim=True).clamp(min=1)
        sharp = affinity.query * (sqrt(affinity.query.shape[-1]) / SOFTNESS)  # attention divides by the root
        keys = affinity.key.unflatten(1, (encoding.size[0], -1))
        with full_precision(sharp.device):
            return sum(
                DotProductAffinity(sharp, key, 1, affinity.query_size, (1, *encoding.size[1:])).attend(
                    mask.unsqueeze(-1)).squeeze(-1)
                for key, mask in zip(keys.unbind(1), encoding.masks.unbind(1))) / num_shots

    def forward_train(self, query: FeaturePyramid, encoding: Any, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Segment with the relaxed form, whose logits train the adapter; arguments as in :class:`FewShotHead`.

        Raises:
            ValueError: If there is no adapter.
        """
        if self.adapter is None:
            raise ValueError('INSID3Head has nothing to train: run tools/test.py without a checkpoint, or train an '
                             'adapter with head.adapter_channels.')
        return super().forward_train(query, encoding, target)

    def combine_shots(self, logits: Tensor, size: Sequence[int], for_loss: bool = False) -> Tensor:
        """Resize the mask and the cells' scores to the query; the mask alone decides what is foreground."""
        if self.relaxed:
            return resize_unaligned(logits, size)
        background, foreground = (resize_unaligned(x, size) for x in (logits[:, :1], logits[:, 1:].sign() / 2))
        strength = resize_unaligned(2 * logits[:, 1:].abs(), size)
        return torch.cat((background, foreground * strength), dim=1)


def object_votes(affinity: CosineAffinity, masks: Tensor) -> Tensor:
    """Check whether the most similar support cell of each query cell lies in the mask, shot by shot.

    Most query cells are more similar to one of a few background cells than to the whole object, which decides them.
    The others are compared with all cells. The result is that of :meth:`Affinity.nearest`, in less time.

    Args:
        affinity (CosineAffinity): Of one batch element, n query cells and K * S support cells.
        masks (Tensor): Cells of the object, boolean, shape (K, S).

    Returns:
        Tensor: Boolean, shape (K, n).
    """
    query, votes = affinity.query[0], torch.zeros(len(masks), affinity.num_query, dtype=torch.bool, device=masks.device)
    for keys, mask, vote in zip(affinity.key[0].unflatten(0, masks.shape), masks, votes):
        if not mask.any():
            continue
        few = (~mask).nonzero()[::SCREENED, 0]
        undecided = torch.arange(len(query), device=mask.device)
        if len(few):
            undecided = (largest_cosines(query, keys[few]) <= largest_cosines(query, keys[mask])).nonzero()[:, 0]
        if len(undecided):
            rest = CosineAffinity(query[None, undecided], keys[None], (1, len(undecided)), (1, 1, len(keys)))
            vote[undecided] = mask[rest.nearest()[0, :, 0]]
    return votes


def largest_cosines(query: Tensor, keys: Tensor) -> Tensor:
    """Compute the largest cosine of each of Q unit vectors (Q, C) with any of (S, C), (Q, )."""
    with full_precision(query.device):
        return torch.cat([(rows @ keys.T).amax(1) for rows in query.split(CHUNK_SIZE)])


def forward_match(cells: Tensor, prototype: Tensor) -> Tensor:
    """Compute f, the cosines (B, Q) of cells (B, Q, C) with the prototype (B, C), or (1, C) for all."""
    with full_precision(cells.device):
        return (cells @ prototype.unsqueeze(2)).squeeze(2)


def kept_cells(reading: INSID3Reading) -> Tensor:
    """Return the mask on the grid, 1 and 0, shape (Q, )."""
    return reading.kept.to(reading.scores)[reading.clusters.labels]


def tokens(feature: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C)."""
    return feature.flatten(2).transpose(1, 2)

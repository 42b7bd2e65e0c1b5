"""GF-SAM: points from prior maps, masks from SAM, a graph that chooses among them (NeurIPS 2024)."""
from dataclasses import dataclass
from typing import Iterator, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.registry import MODELS
from ..affinities import Affinity
from ..affinities.affinity import CHUNK_SIZE, chunks
from ..features import FeaturePyramid
from ..layers import resize_aligned
from ..layers.mask_graph import GridMasks, MaskGraph
from ..layers.precision import full_precision
from ..layers.pytrees import pytree
from .matching_head import MatchingHead

COSINE_EPS, MEAN_EPS, SCALE_EPS = 1e-7, 1e-7, 1e-6
MAX_POINTS = 128
CENTRE = 14
"""Side in pixels of the square that stands for the object where all masks of a set are empty."""


class TokenAffinity(Affinity):
    """Score cells by f_t f_j / (|f_t| |f_j| + 1e-7).

    Args:
        query (Tensor): Shape (B, Q, C).
        key (Tensor): Shape (B, S, C), or (1, S, C) to share one support set.
        query_size (tuple[int, int]): (h, w).
        support_size (tuple[int, int, int]): (K, h', w').
    """

    def __init__(self, query: Tensor, key: Tensor, query_size: tuple[int, int],
                 support_size: tuple[int, int, int]) -> None:
        super().__init__(query_size, support_size)
        self.query = query
        self.key = key.expand(len(query), -1, -1)

    def scores(self, start: int, stop: int) -> Tensor:
        with full_precision(self.query.device):
            rows = self.query[:, start:stop]
            lengths = rows.norm(dim=-1)[:, :, None] * self.key.norm(dim=-1)[:, None]
            return rows @ self.key.transpose(1, 2) / (lengths + COSINE_EPS)


@pytree
@dataclass
class GFSAMEncoding:
    """Hold the encoding of B support sets of K shots.

    Attributes:
        keys (Tensor): Tokens of all cells, shot by shot, (B, K * h * w, C).
        masks (Tensor): Soft masks of the object on the grid, (B, K, h * w).
        size (tuple[int, int, int]): (K, h, w).
    """
    keys: Tensor
    masks: Tensor
    size: tuple[int, int, int]


@dataclass(frozen=True)
class GFSAMReading:
    """Hold the decisions on one query.

    Attributes:
        prior (Tensor): R, where an object is likely, shape (h, w).
        evidence (Tensor): e, above 0 where a cell speaks for the object, shape (h, w).
        cells (Tensor): Cells (column, row) of the P points, int64, shape (P, 2).
        points (Tensor): Their pixels (x, y), int64, shape (P, 2).
        graph (MaskGraph, optional): What the graph says of the points' masks; None without a point.
        mask (Tensor): The answer, boolean, shape (H, W).
    """
    prior: Tensor
    evidence: Tensor
    cells: Tensor
    points: Tensor
    graph: Optional[MaskGraph]
    mask: Tensor


@MODELS.register_module()
class GFSAMHead(MatchingHead):
    r"""Prompt SAM with points that match the supports, and choose among its masks by a graph.

    1. *Affinity.* c(t, j) is the cosine of a query and a support cell, of tokens whose channels have norm 1 over the
       cells of an image. (The released code normalizes along this axis; without it the results differ.)
    2. *Prior maps*, means over the shots: S, mean cosine with the object; M, largest cosine with the object; N, mean
       cosine with the rest. R is S M, scaled to 0..1, and 0 where N, scaled, exceeds it.
    3. *Points.* The sum of R is their number, 1 to 128. The cells of largest R are prompts of one point each.
    4. *Graph.* A mask that covers another point is joined with it. In each component, masks grow the object from the
       most positive one on. A point is consistent if it is more similar to its own component than to others, by
       distance. The union of the masks that are foreground and consistent is the answer; if there is none, the best of
       those that are one of the two.

    SAM encodes the query once for all classes, supports and perturbed supports (:meth:`FeaturePyramid.once`). The
    foreground logit is the mask minus one half, times 1 plus the mean S of the masks' cells, so that several classes
    are ranked. Nothing is trained, and the decisions have no gradient.

    If all masks of a support set are empty, the square of 14 x 14 pixels in the middle stands for the object.

    Args:
        in_channels (Sequence[Sequence[int]]): The deepest map is read; filled in by the segmentor.
        sam (dict): Config of a :class:`SegmentAnything`.
        loss_decode, ignore_index, init_cfg: See :class:`MatchingHead`.

    Raises:
        ModuleNotFoundError: If the package segment-anything is missing.

    Example:
        >>> import torch
        >>> from mmfss.models import FewShotSegmentor
        >>> model = FewShotSegmentor(  # doctest: +SKIP
        ...     backbone=dict(type='mmpretrain.VisionTransformer', arch='large', img_size=518, patch_size=14,
        ...                   layer_scale_init_value=1e-5, out_type='featmap'),
        ...     features=dict(type='ResizedFeatures', size=(518, 518), reader=dict(scales=[1], indices=[-1])),
        ...     head=dict(type='GFSAMHead', sam=dict(arch='vit_h')))
        >>> query, support = torch.rand(1, 3, 1024, 1024), torch.rand(1, 1, 1, 3, 1024, 1024)
        >>> model.logits(query, support, torch.ones(1, 1, 1, 1024, 1024)).shape  # doctest: +SKIP
        torch.Size([1, 2, 1024, 1024])
    """

    training_free = True
    reads_images = True

    def __init__(self,
                 in_channels: Sequence[Sequence[int]],
                 sam: dict,
                 loss_decode: Optional[dict] = None,
                 ignore_index: Optional[int] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(in_channels, loss_decode, ignore_index, init_cfg)
        self.sam = MODELS.build({'type': 'SegmentAnything', **sam})

    def use_differentiable_form(self) -> str:
        raise ValueError('The points and masks of GF-SAM have no gradient: choose AffEx or an explainer that perturbs '
                         '(lime, occlusion, feature_ablation).')

    def use_exportable_form(self) -> str:
        raise ValueError('GF-SAM cannot be exported: the number of its points, masks and clusters depends on the '
                         'picture. Export another head, such as the prototype head.')

    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> GFSAMEncoding:
        keys, size = tokens(support), support[-1][-1].shape[-2:]
        soft = resize_aligned(with_centre(masks), size).flatten(2).to(keys.dtype)
        return GFSAMEncoding(keys.unflatten(0, masks.shape[:2]).flatten(1, 2), soft, (masks.shape[1], *size))

    def match(self, query: FeaturePyramid, encoding: GFSAMEncoding) -> Iterator[TokenAffinity]:
        yield TokenAffinity(tokens(query), encoding.keys, query[-1][-1].shape[-2:], encoding.size)

    def aggregate(self, affinity: TokenAffinity, encoding: GFSAMEncoding) -> Tensor:
        """Compute the prior maps S, M and N, (B, 3, h, w)."""
        return prior_maps(affinity, encoding.masks).unflatten(2, affinity.query_size)

    def decode(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: GFSAMEncoding) -> Tensor:
        foreground = torch.stack([
            (reading.mask.float() - 0.5) * (1 + ranking(maps[0], reading).clamp(min=0))
            for maps, reading in zip(evidence[0], self.read(evidence, query, encoding))
        ]).unsqueeze(1)
        return torch.cat((torch.zeros_like(foreground), foreground), dim=1)

    @torch.no_grad()
    def read(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: GFSAMEncoding) -> list[GFSAMReading]:
        """Decide on each of B queries; arguments as :meth:`decode`."""
        images, cells = query.images, tokens(query)
        embeddings = query.once(('SAM', self.sam), lambda source: [self.sam.embed(x[None]) for x in source.images])
        with full_precision(images.device):
            return [
                self._read(maps, images.shape[-2:], cells[index:index + 1], embeddings[index % len(embeddings)])
                for index, maps in enumerate(evidence[0])
            ]

    def _read(self, maps: Tensor, size: Sequence[int], cells: Tensor, embedding: Tensor) -> GFSAMReading:
        """Decide on one query of ``size`` pixels, from its prior maps (3, h, w) and tokens (1, h * w, C)."""
        mean, largest, other = maps
        grid = tuple(mean.shape)
        prior, evidence = combined_prior(mean, largest, other), mean**2 - other * (mean.max() + mean.min()) / 2
        columns, rows = chosen = prompted_cells(prior)
        points = torch.stack((columns * size[1] // grid[1], rows * size[0] // grid[0]), dim=1)
        chosen = torch.stack(chosen, dim=1)
        if not len(points):
            nothing = torch.zeros(tuple(size), dtype=torch.bool, device=maps.device)
            return GFSAMReading(prior, evidence, chosen, points, None, nothing)
        own = TokenAffinity(cells, cells, grid, (1, *grid))
        masks = GridMasks.of(self.sam.masks_of_points(embedding, points, size), grid)
        graph = MaskGraph.of(masks, chosen, evidence, lambda unions: mean_scores(own, unions))
        return GFSAMReading(prior, evidence, chosen, points, graph, masks.masks[graph.chosen].any(0))


def with_centre(masks: Tensor) -> Tensor:
    """Put a square into the middle of all masks (B, K, H, W) of a set that has no object pixel."""
    height, width = masks.shape[-2:]
    square, half = torch.zeros_like(masks[0, 0]), CENTRE // 2
    square[max(0, height // 2 - half):height // 2 + half, max(0, width // 2 - half):width // 2 + half] = 1
    empty = masks.flatten(1).sum(1) == 0
    return torch.where(empty[:, None, None, None], square, masks)


def prior_maps(affinity: TokenAffinity, masks: Tensor) -> Tensor:
    """Compute the mean and largest score with the object, and the mean with the rest, means over the shots.

    Args:
        affinity (TokenAffinity): Of Q query cells and K shots of h * w cells; held a chunk of query cells at a time.
        masks (Tensor): Shape (B, K, h * w), or (1, K, h * w) for all.

    Returns:
        Tensor: Shape (B, 3, Q).
    """
    weights = torch.stack((masks, 1 - masks), dim=-1)  # (B, K, S, 2)
    count = masks.shape[-1]
    areas = weights.sum(2) / count + MEAN_EPS
    maps = []
    for start, stop in chunks(affinity.num_query, CHUNK_SIZE):
        scores = affinity.scores(start, stop).unflatten(-1, (masks.shape[1], -1)).transpose(1, 2)  # (B, K, q, S)
        mean, other = ((scores @ weights) / count / areas.unsqueeze(2)).mean(1).unbind(-1)
        largest = (scores * masks.unsqueeze(2)).amax(-1).mean(1)
        maps.append(torch.stack((mean, largest, other), dim=1))
    return torch.cat(maps, dim=-1)


def mean_scores(affinity: TokenAffinity, masks: Tensor) -> Tensor:
    """Average the scores of an image's cells with the cells of each of U masks (U, h, w): (U, h, w)."""
    weights = masks.flatten(1).T  # (S, U)
    rows = [affinity.scores(start, stop)[0] @ weights for start, stop in chunks(affinity.num_query, CHUNK_SIZE)]
    return (torch.cat(rows) / len(weights) / (weights.mean(0) + MEAN_EPS)).T.unflatten(1, masks.shape[1:])


def combined_prior(mean: Tensor, largest: Tensor, other: Tensor) -> Tensor:
    """Compute R (h, w): the product of the object's maps, but 0 where the rest is more likely."""
    prior = scaled(mean * largest)
    return prior.masked_fill(scaled(other) > prior, 0)


def scaled(x: Tensor) -> Tensor:
    """Scale to 0..1."""
    return (x - x.min()) / (x.max() - x.min() + SCALE_EPS)


def prompted_cells(prior: Tensor) -> tuple[Tensor, Tensor]:
    """Choose as many cells of largest R (h, w) as R sums to, column by column: columns and rows, (P, ) each."""
    total = float(prior.sum())
    number = max(min(int(total), MAX_POINTS), int(total > 0))
    best = prior.flatten().sort(descending=True, stable=True).indices[:number]
    rows, columns = best // prior.shape[1], best % prior.shape[1]
    order = (columns * prior.shape[0] + rows).argsort()
    return columns[order], rows[order]


def ranking(mean: Tensor, reading: GFSAMReading) -> Tensor:
    """Average S (h, w) over the cells of the answer; 0 if it is empty."""
    cells = F.interpolate(reading.mask[None, None].float(), tuple(mean.shape), mode='nearest')[0, 0]
    return (mean * cells).sum() / cells.sum().clamp(min=1)


def tokens(pyramid: FeaturePyramid) -> Tensor:
    """Return the deepest map as tokens (B, h * w, C); each channel has norm 1 over the cells of an image."""
    feature = pyramid[-1][-1].flatten(2)
    return F.normalize(feature.to(torch.promote_types(feature.dtype, torch.float32)), dim=2).transpose(1, 2)

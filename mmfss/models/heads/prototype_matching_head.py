"""Prototype matching: mean prototypes, PANet-style cosines with trained adapters, and FSSDINO's Gram maps."""
from math import sqrt
from typing import Iterator, Literal, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.registry import MODELS
from ..affinities import DotProductAffinity
from ..features import FeaturePyramid
from ..layers import resize_adjoint, resize_aligned, resize_unaligned
from ..layers.class_prototypes import EMPTY, AttributionKind, ClassPrototypes, to_cells
from ..layers.clustering import cosine_kmeans, random_seeds, spread_seeds
from ..layers.precision import full_precision
from ..layers.pyramid_scales import cell_shares
from .matching_head import MatchingHead

ABSENT = -100.
"""Score of a class without cells, below every other."""

BELOW = -2.
"""Less than any map of a stack."""

MODES = ('mean', 'cosine', 'gram')


class CellAffinity(DotProductAffinity):
    """Score cells by the cosine times a temperature, and keep the query's cells, of any length, for the class maps.

    Args:
        cells (Tensor): Query cells, shape (B, Q, C).
        key (Tensor): Support cells of length 1, shape (B, S, C), or (1, S, C) to share one support set.
        temperature (float | Tensor): T, a scalar.
        query_size, support_size: See :class:`Affinity`.
    """

    def __init__(self, cells: Tensor, key: Tensor, temperature: Union[float, Tensor], query_size: tuple[int, int],
                 support_size: tuple[int, int, int]) -> None:
        query = temperature * sqrt(cells.shape[-1]) * F.normalize(cells, dim=-1)
        super().__init__(query, key, 1, query_size, support_size)
        self.cells = cells


@MODELS.register_module()
class PrototypeMatchingHead(MatchingHead):
    r"""Segment by the similarity of query cells to prototypes of the object and of the background.

    Letters: B episodes, K shots, N = K * h * w support cells, C channels, P prototypes of a class. *Cells* are the
    positions of a feature map. Background (0) and foreground (1) are two classes, treated alike: a cell weighs m in the
    foreground and 1 - m in the background.

    ``mode='mean'``, nothing is trained. The prototype is the mean of the cells, by the share of each cell that the mask
    covers. The logit is T times the cosine of query cell and prototype.

    ``mode='cosine'``, in the manner of PANet (Wang et al., ICCV 2019; as in the code of AffEx): a trained 1 x 1
    convolution, the identity at first, adapts the cells of each level, which then get length 1. Masks are resized
    bilinearly. The levels' logits are resized to the finest and averaged; T is trained.

    ``mode='gram'``, FSSDINO (arXiv 2602.07550), nothing is trained. Masks are read at the nearest pixel. The cells of a
    class are clustered by cosine into P means. The stack of a class holds the cosines of its P prototypes and the Gram
    map :math:`q^T G q`, scaled to 0..1 over the query. The class's score is maximum times mean of the stack, and the
    logit is T times the score. Clustering is deterministic; the paper's is random (``start='random'``). Each way has
    the background of its own supports, where the paper's ways share one.

    A class whose weights sum to less than 5e-4 is empty. Its logit is 0 (-100 T in mode ``gram``), so that a mask that
    covers everything leaves no background to compare with.

    Before scaling, maximum and mean, the maps of a class are sums over support cells, so that the contribution of every
    cell is known exactly: :meth:`true_attribution`. Multiplying the mask by a number changes nothing; hence gradient
    times mask, and integrated gradients from a zero mask, are zero in total on this head and explain nothing.

    Compared layers are the maps of ``layers``. The evidence of one is its maps; the mean over levels runs over those
    that have evidence, so removing a level leaves the mean of the others. Query and support may differ in size.
    Similarities are computed in float32, under autocast too.

    Args:
        in_channels (Sequence[Sequence[int]]): See :class:`MatchingHead`.
        mode (str): ``'mean'``, ``'cosine'`` or ``'gram'``. Defaults to ``'mean'``.
        layers (Sequence[tuple[int, int]], optional): Which maps of the feature pyramid to compare, each as level and
            map in the level, from fine to coarse; negative numbers count from the end. Defaults to the last map of the
            coarsest level, in mode ``cosine`` to the last maps of the three coarsest.
        temperature (float): T, in mode ``cosine`` its first value. Defaults to 20.
        num_prototypes (int): P of mode ``gram``. Defaults to 5.
        upsample (int): Factor by which mode ``gram`` enlarges the maps (bilinear, corners not aligned) before it takes
            maximum and mean; the paper enlarges to the image, thus by the patch size. Defaults to 1.
        start (str): How the clustering of mode ``gram`` starts, ``'spread'`` (far apart, no chance) or ``'random'``.
            Defaults to ``'spread'``.
        loss_decode, ignore_index, init_cfg: See :class:`MatchingHead`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> from mmfss.models import FeaturePyramid, PrototypeMatchingHead
        >>> head = PrototypeMatchingHead(in_channels=[[8], [16]])
        >>> head.training_free
        True
        >>> def pyramid(images):
        ...     return FeaturePyramid(((torch.rand(images, 8, 16, 16), ), (torch.rand(images, 16, 8, 8), )))
        >>> encoding = head.encode_support(pyramid(5), torch.ones(1, 5, 64, 64).tril())  # 5 shots
        >>> query = pyramid(1)
        >>> head(query, encoding).shape
        torch.Size([1, 2, 8, 8])
        >>> region = torch.ones(1, 64, 64).bool()
        >>> parts, = head.true_attribution(query, encoding, region)  # one compared layer
        >>> parts.shape  # background and foreground, one prototype each, 5 supports of 8 x 8 cells
        torch.Size([1, 2, 1, 5, 8, 8])
    """

    def __init__(self,
                 in_channels: Sequence[Sequence[int]],
                 mode: Literal['mean', 'cosine', 'gram'] = 'mean',
                 layers: Optional[Sequence[tuple[int, int]]] = None,
                 temperature: float = 20.,
                 num_prototypes: int = 5,
                 upsample: int = 1,
                 start: Literal['spread', 'random'] = 'spread',
                 loss_decode: Optional[dict] = None,
                 ignore_index: Optional[int] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(in_channels, loss_decode, ignore_index, init_cfg)
        # Check the arguments
        if mode not in MODES:
            raise ValueError(f'PrototypeMatchingHead: mode must be one of {", ".join(MODES)}, got {mode!r}.')
        if start not in ('spread', 'random'):
            raise ValueError(f"PrototypeMatchingHead: start must be 'spread' or 'random', got {start!r}.")
        if temperature <= 0 or min(num_prototypes, upsample) < 1:
            raise ValueError('PrototypeMatchingHead: temperature must be above 0, num_prototypes and upsample at least '
                             f'1, got {temperature}, {num_prototypes} and {upsample}.')
        if layers is None:
            layers = [(level, -1) for level in range(-min(3 if mode == 'cosine' else 1, len(self.in_channels)), 0)]
        # Options
        self.mode = mode
        self.layers = tuple((level, index) for level, index in layers)
        self.num_prototypes = num_prototypes
        self.upsample = upsample if mode == 'gram' else 1
        self.start = start
        self.training_free = mode != 'cosine'

        # Learned parts
        widths = [self._channels(*layer) for layer in self.layers]
        self.adapters = None
        self.temperature = temperature
        if mode == 'cosine':
            self.adapters = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
            for adapter in self.adapters:
                nn.init.dirac_(adapter.weight)  # the identity
                nn.init.zeros_(adapter.bias)
            self.temperature = nn.Parameter(torch.tensor(float(temperature)))

    def _channels(self, level: int, index: int) -> int:
        try:
            return self.in_channels[level][index]
        except IndexError:
            raise ValueError(f'PrototypeMatchingHead: layers has ({level}, {index}), but the backbone gives levels of '
                             f'{[len(level) for level in self.in_channels]} maps.') from None

    # Support

    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> tuple[ClassPrototypes, ...]:
        num_shots, encodings = masks.shape[1], []
        for feature in self._maps(support):
            size = (num_shots, *feature.shape[-2:])
            cells = to_cells(feature).unflatten(0, (-1, num_shots)).flatten(1, 2)
            foreground = self.cell_weights(masks.to(cells.dtype), size[1:])
            weights = torch.stack((1 - foreground, foreground), dim=1)
            encodings.append(self.encode_classes(cells, weights, size))
        return tuple(encodings)

    def cell_weights(self, masks: Tensor, size: Sequence[int]) -> Tensor:
        """Bring masks (B, K, H, W) to the cells of a grid (h, w), (B, K * h * w)."""
        if self.mode == 'mean':
            return cell_shares(masks, size)
        if self.mode == 'cosine':
            return resize_aligned(masks, size).flatten(1)
        return F.interpolate(masks, tuple(size), mode='nearest').flatten(1)

    def encode_classes(self, cells: Tensor, weights: Tensor, size: tuple[int, int, int]) -> ClassPrototypes:
        """Compute the prototypes of any number of classes.

        Args:
            cells (Tensor): Support cells, shape (B, N, C).
            weights (Tensor): How much each cell belongs to each of G classes, shape (B, G, N). A cell may belong to
                several classes or to none.
            size (tuple[int, int, int]): (K, h, w).
        """
        weights = weights * (weights.sum(-1, keepdim=True) > EMPTY)
        with full_precision(cells.device):
            if self.mode == 'gram':
                members = torch.stack([self._clusters(cells, of_class) for of_class in weights.unbind(1)], dim=1)
            else:
                members = weights[:, :, None]
            return ClassPrototypes.of_members(cells, weights, members, size, gram=self.mode == 'gram')

    def _clusters(self, cells: Tensor, weights: Tensor) -> Tensor:
        """Cluster the cells (B, N, C) of a class with weights (B, N): memberships (B, P, N)."""
        occupied, number = weights > 0, self.num_prototypes
        few = occupied.sum(1) < number
        if self.start == 'random':
            seeds = random_seeds(weights, number)
            exists = torch.ones_like(seeds, dtype=torch.bool)
        else:
            seeds, exists = spread_seeds(F.normalize(cells, dim=-1), weights, number)
        members, _ = cosine_kmeans(cells, occupied, seeds, exists & ~few[:, None],
                                   redraw_empty=self.start == 'random')
        # Fewer cells than prototypes: they are the prototypes.
        order = occupied.cumsum(1) * occupied
        alone = order[:, None] == torch.arange(1, number + 1, device=cells.device)[:, None]
        return torch.where(few[:, None, None], alone, members > 0) * weights[:, None]

    # Query

    def match(self, query: FeaturePyramid, encoding: tuple[ClassPrototypes, ...]) -> Iterator[CellAffinity]:
        for number, (feature, prototypes) in enumerate(zip(self._maps(query), encoding)):
            key = F.normalize(prototypes.cells, dim=-1)
            affinity = CellAffinity(to_cells(feature), key, self._fixed_temperature(), feature.shape[-2:],
                                    prototypes.size)
            affinity.layer = number
            yield affinity

    def aggregate(self, affinity: CellAffinity, encoding: tuple[ClassPrototypes, ...]) -> Tensor:
        """Compute the maps of one layer, (B, 2, M, h, w): M is 1, in mode ``gram`` P and the scaled Gram map."""
        prototypes = encoding[affinity.layer]
        maps = prototypes.cosine_maps(affinity.cells)
        if self.mode == 'gram':
            gram = prototypes.gram_maps(affinity.cells)
            low, high = gram.amin(-1, keepdim=True), gram.amax(-1, keepdim=True)
            maps = torch.cat((maps, ((gram - low) / (high - low + 1e-8))[:, :, None]), dim=2)
        return maps.unflatten(-1, affinity.query_size)

    def decode(self, evidence: Sequence[Tensor], query: FeaturePyramid,
               encoding: tuple[ClassPrototypes, ...]) -> Tensor:
        size = [self.upsample * side for side in evidence[0].shape[-2:]]
        total, kept = 0., 0.
        for maps, prototypes in zip(evidence, encoding):
            there = maps.flatten(1).any(1)[:, None, None, None]
            scores = self.class_scores(maps, prototypes) if self.mode == 'gram' else maps[:, :, 0]
            total = total + there * resize_aligned(scores, size)
            kept = kept + there
        return self.temperature * total / kept.clamp(min=1)

    def class_scores(self, maps: Tensor, prototypes: ClassPrototypes) -> Tensor:
        """Compute maximum times mean of each class's stack: (B, G, M, h, w) to (B, G, u * h, u * w)."""
        exists = torch.cat((prototypes.exists, prototypes.class_exists[..., None]), dim=-1)[..., None, None]
        size = [self.upsample * side for side in maps.shape[-2:]]
        mean = resize_unaligned((maps * exists).sum(2) / exists.sum(2).clamp(min=1), size)
        top = torch.full_like(mean, BELOW)
        for index in range(maps.shape[2]):
            enlarged = resize_unaligned(maps[:, :, index], size)
            top = torch.maximum(top, torch.where(exists[:, :, index], enlarged, BELOW))
        return torch.where(prototypes.class_exists[..., None, None], top * mean, ABSENT)

    def _maps(self, pyramid: FeaturePyramid) -> list[Tensor]:
        """Return the compared maps (B, C, h, w), adapted in mode ``cosine``."""
        maps = [pyramid[level][index] for level, index in self.layers]
        if self.adapters is None:
            return maps
        return [F.normalize(adapter(feature), dim=1) for adapter, feature in zip(self.adapters, maps)]

    def _fixed_temperature(self) -> Union[float, Tensor]:
        return self.temperature if self.training_free else self.temperature.detach()

    # Training

    def forward_train(self, query: FeaturePyramid, encoding: tuple[ClassPrototypes, ...],
                      target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if self.training_free:
            raise ValueError(f"PrototypeMatchingHead with mode={self.mode!r} has nothing to train: test it, or choose "
                             "mode='cosine'.")
        return super().forward_train(query, encoding, target)

    # Interpretation

    @torch.no_grad()
    def true_attribution(self, query: FeaturePyramid, encoding: tuple[ClassPrototypes, ...], region: Tensor,
                         kind: AttributionKind = 'readout') -> list[Tensor]:
        r"""Compute what every support cell adds to the class maps in a query region, exactly.

        ``readout`` divides the maps' mean over the region among the cells: with the lengths of the prototypes, the
        number of cells and the clusters held fixed, the parts sum to it. ``removal`` is the change of this mean when
        the cell is taken out of its class, in closed form; a cell is not moved to the other class. The maps are those
        before scaling, maximum and mean, times T, resized as the prediction is. In modes ``mean`` and ``cosine`` the
        sum of ``readout`` over layers and cells is the mean logit of the class, and ``removal`` its exact change.

        Args:
            query (FeaturePyramid): Features of B queries.
            encoding (tuple[ClassPrototypes, ...]): Of B support sets, or of one set that serves all queries.
            region (Tensor): Boolean, or weights of the pixels, shape (B, H, W), none empty.
            kind (str): ``'readout'`` or ``'removal'``. Defaults to ``'readout'``.

        Returns:
            list[Tensor]: For each compared layer (B, 2, M, K, h, w): class 0 background, 1 foreground; M is 1, in mode
            ``gram`` P prototypes and the Gram map.

        Raises:
            ValueError: If the kind is unknown.
        """
        if kind not in ('readout', 'removal'):
            raise ValueError(f"true_attribution: kind must be 'readout' or 'removal', got {kind!r}.")
        maps = self._maps(query)
        pixels = region[:, None].to(torch.promote_types(maps[0].dtype, torch.float32))
        pixels = self._fixed_temperature() / len(maps) * pixels / pixels.sum((2, 3), keepdim=True)
        # The weights of the cells follow the logits' way back: image, finest layer, enlarged layer, layer.
        finest = [self.upsample * side for side in maps[0].shape[-2:]]
        pixels = resize_adjoint(pixels, finest, align_corners=True)
        parts = []
        for feature, prototypes in zip(maps, encoding):
            enlarged = [self.upsample * side for side in feature.shape[-2:]]
            weights = resize_adjoint(pixels, enlarged, align_corners=True)
            weights = resize_adjoint(weights, feature.shape[-2:]).flatten(1)
            cells = to_cells(feature)
            with full_precision(cells.device):
                found = prototypes.cosine_contributions(cells, weights, kind)
                if self.mode == 'gram':
                    gram = prototypes.gram_contributions(cells, weights, kind)
                    found = torch.cat((found, gram[:, :, None]), dim=2)
            parts.append(found.unflatten(-1, prototypes.size))
        return parts

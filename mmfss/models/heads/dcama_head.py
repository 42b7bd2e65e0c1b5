"""DCAMA: dense pixel-wise cross-query-and-support attention weighted mask aggregation (Shi et al., ECCV 2022)."""
from dataclasses import dataclass
from typing import Iterator, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.registry import MODELS
from ..affinities import Affinity, DotProductAffinity
from ..features import FeaturePyramid
from ..layers import RasterPositionEncoding, conv_resized, resize_aligned
from ..layers.pytrees import pytree
from .dcama_ablation import ablation_effects
from .matching_head import MatchingHead


@pytree
@dataclass
class DCAMAEncoding:
    """Hold the encoding of B support sets of K shots.

    Attributes:
        keys (list[Tensor]): Per attended layer the projected support tokens, (B, K * h * w, C).
        sizes (list[tuple[int, int, int]]): Per attended layer (K, h, w).
        masks (list[Tensor]): Per attended layer the resized soft masks as attention values, (B, K * h * w, 1); layers
            of one size share them.
        mixed (Tensor): What the last support features of the levels 1/4 and 1/8, maximum over shots, contribute to the
            first convolution of the decoder's mixer, (B, C, h, w) at level 1/4.
    """
    keys: list[Tensor]
    sizes: list[tuple[int, int, int]]
    masks: list[Tensor]
    mixed: Tensor


class CrossAttention(nn.Module):
    """Project query and support tokens for comparison (section 3.2: multi-head, without value and output projection).

    Args:
        channels (int): Channels of a token, C.
        num_heads (int): Number of heads.
        dropout (float): Dropout probability of the coded tokens.
        attention_dropout (float): Dropout probability of the attention weights.
    """

    def __init__(self, channels: int, num_heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(
                f'DCAMA: {channels} feature channels cannot be divided among {num_heads} heads (`num_heads`).')
        if not 0 <= attention_dropout < 1:
            raise ValueError(f'DCAMA: attention_dropout must be in [0, 1), got {attention_dropout}.')
        self.num_heads = num_heads
        self.position = RasterPositionEncoding(channels)
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = attention_dropout
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        # Training starts from a symmetric similarity: one projection for both sides.
        self.key.load_state_dict(self.query.state_dict())

    def project_query(self, feature: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, h * w, C)."""
        return self.query(self._tokens(feature))

    def project_support(self, feature: Tensor, num_shots: int) -> Tensor:
        """(B * K, C, h, w) -> (B, K * h * w, C); positions are counted anew in every shot."""
        return self.key(self._tokens(feature)).unflatten(0, (-1, num_shots)).flatten(1, 2)

    def forward(self, query: Tensor, key: Tensor, query_size: tuple[int, int],
                support_size: tuple[int, int, int]) -> Affinity:
        """Return the affinity of projected tokens."""
        dropout = self.attention_dropout if self.training else 0.
        return DotProductAffinity(query, key, self.num_heads, query_size, support_size, dropout)

    def _tokens(self, feature: Tensor) -> Tensor:
        return self.dropout(self.position(feature.flatten(2).transpose(1, 2)))


@MODELS.register_module()
class DCAMAHead(MatchingHead):
    """Aggregate the support mask to the query by attention at many layers, and decode the coarse masks.

    Letters: B episodes, K shots, levels at strides 4, 8, 16, 32 (0 to 3). Every layer of levels 1 to 3 compares query
    and support tokens by multi-head attention *whose value is the support mask*: one coarse query mask per layer. The
    coarse masks of a level are stacked and refined by convolutions, from level 3 to level 1; the result is mixed with
    the last features of levels 1 and 0 of query and support. K shots are one set of tokens (one softmax over all
    shots), no vote.

    The attention is streamed: no (query x support) matrix is held, in training or inference. With Q and S positions of
    query and support: time O(Q S C), memory O((Q + S) C).

    Levels need not differ by exactly two in size, and maps need not be square. Layers of one level that differ in width
    (MobileNet) get one projection per width.

    Args:
        in_channels (Sequence[Sequence[int]]): Channels of every map of the four levels.
        num_heads (int): Attention heads. Defaults to 8.
        dropout (float): Dropout of coded tokens in training. Defaults to 0.5.
        attention_dropout (float): Dropout of attention weights in training, in [0, 1). Defaults to 0.5.
        hidden_channels (Sequence[int]): Widths of the convolutions that refine a level. Defaults to (16, 64, 128).
        loss_decode, ignore_index, init_cfg: See :class:`MatchingHead`.

    Raises:
        ValueError: If there are not four levels, a width is not a multiple of ``num_heads``, or ``attention_dropout``
            is out of range.

    Example:
        >>> import torch
        >>> from mmfss.models import FeaturePyramid, DCAMAHead
        >>> def pyramid(images):
        ...     # Features of some images at strides 4, 8, 16 and 32, one layer each.
        ...     maps = ((8, 16), (16, 8), (32, 4), (64, 2))
        ...     return FeaturePyramid(tuple((torch.rand(images, width, side, side), ) for width, side in maps))
        >>> head = DCAMAHead(in_channels=[[8], [16], [32], [64]]).eval()
        >>> encoding = head.encode_support(pyramid(5), torch.ones(1, 5, 64, 64))  # 5 shots
        >>> query = pyramid(1)
        >>> [tuple(affinity.support_size) for affinity in head.match(query, encoding)]  # shots, height, width
        [(5, 8, 8), (5, 4, 4), (5, 2, 2)]
        >>> head(query, encoding).shape
        torch.Size([1, 2, 64, 64])
    """

    def __init__(self,
                 in_channels: Sequence[Sequence[int]],
                 num_heads: int = 8,
                 dropout: float = 0.5,
                 attention_dropout: float = 0.5,
                 hidden_channels: Sequence[int] = (16, 64, 128),
                 loss_decode: Optional[dict] = None,
                 ignore_index: Optional[int] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(in_channels, loss_decode, ignore_index, init_cfg)
        if len(self.in_channels) != 4:
            raise ValueError(f'DCAMA reads 4 feature levels (strides 4, 8, 16, 32), got {len(self.in_channels)}.')
        skip_quarter, skip_eighth = self.in_channels[0][-1], self.in_channels[1][-1]
        attended = [(level, width) for level in (1, 2, 3) for width in self.in_channels[level]]
        kinds = list(dict.fromkeys(attended))
        self.layer_level = [level for level, _ in attended]
        self.layer_attention = [kinds.index(kind) for kind in attended]
        self.attention = nn.ModuleList(
            CrossAttention(width, num_heads, dropout, attention_dropout) for _, width in kinds)

        first, second, wide = hidden_channels
        counts = [len(level) for level in self.in_channels]
        self.refine = nn.ModuleList([
            conv_block((counts[1], first, second, wide), (5, 5, 3)),
            conv_block((counts[2], first, second, wide), (5, 3, 3)),
            conv_block((counts[3], first, second, wide), (3, 3, 3)),
        ])
        self.merge = nn.ModuleList([conv_block((wide, ) * 4, (3, 3, 3)) for _ in range(2)])
        # Input channels of the first mixer: refined masks, query 1/8, support 1/8, query 1/4, support 1/4.
        self.mixed_channels = (wide, skip_eighth, skip_eighth, skip_quarter, skip_quarter)
        self.mixer1 = mixer(sum(self.mixed_channels), 128, 64, last_relu=True)
        self.mixer2 = mixer(64, 64, 16, last_relu=True)
        self.mixer3 = mixer(16, 16, 2, last_relu=False)

    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> DCAMAEncoding:
        num_shots = masks.shape[1]
        skip_quarter, skip_eighth = (level[-1].unflatten(0, (-1, num_shots)).amax(1) for level in support[:2])
        mixed = self._mixed(skip_eighth, skip_quarter, of_support=True)
        features = [feature for level in support[1:] for feature in level]
        keys = [self.attention[i].project_support(f, num_shots) for i, f in zip(self.layer_attention, features)]
        sizes = [(num_shots, *feature.shape[-2:]) for feature in features]
        values = {size: mask_values(masks, size[1:]) for size in dict.fromkeys(sizes)}
        return DCAMAEncoding(keys, sizes, [values[size] for size in sizes], mixed)

    def match(self, query: FeaturePyramid, encoding: DCAMAEncoding) -> Iterator[Affinity]:
        features = [feature for level in query[1:] for feature in level]
        for layer, (index, feature) in enumerate(zip(self.layer_attention, features)):
            attention = self.attention[index]
            affinity = attention(attention.project_query(feature), encoding.keys[layer], feature.shape[-2:],
                                 encoding.sizes[layer])
            affinity.layer = layer
            yield affinity

    def aggregate(self, affinity: Affinity, encoding: DCAMAEncoding) -> Tensor:
        """Compute the coarse query mask of one layer in [0, 1], shape (B, 1, h, w)."""
        mask = affinity.attend(encoding.masks[affinity.layer])
        return mask.transpose(1, 2).unflatten(2, affinity.query_size)

    def decode(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: DCAMAEncoding) -> Tensor:
        # Refine the coarse masks of each level, and merge them from the coarsest level to stride 8.
        fine, middle, coarse = (self.refine[level - 1](self._stacked(evidence, level)) for level in (1, 2, 3))
        masks = self.merge_levels(0, fine, self.merge_levels(1, middle, coarse))
        # Mix with the skipped features at stride 4, then enlarge twice.
        skipped = self._skipped(query, encoding)
        weight = self.mixer1[0].weight[:, :self.mixed_channels[0]]
        x = conv_resized(masks, weight, skipped.shape[-2:]) + skipped
        x = self.mixer2(_doubled(self.mixer1[1:](x)))
        return self.mixer3(_doubled(x))

    def layer_effects(self, evidence: Sequence[Tensor], query: FeaturePyramid, encoding: DCAMAEncoding,
                      region: Tensor) -> Tensor:
        """Measure the effects (B, L) of removing each layer; see :func:`ablation_effects`."""
        stacked = {level: self._stacked(evidence, level) for level in (1, 2, 3)}
        return ablation_effects(self, stacked, self._skipped(query, encoding), region)

    def _stacked(self, evidence: Sequence[Tensor], level: int) -> Tensor:
        """Stack the coarse masks of a level as channels, (B, L, h, w)."""
        return torch.cat([mask for mask, layer in zip(evidence, self.layer_level) if layer == level], dim=1)

    def merge_levels(self, index: int, fine: Tensor, coarse: Tensor) -> Tensor:
        """Merge the refined masks of a level with those of all coarser levels."""
        return self.merge[index](resize_aligned(coarse, fine.shape[-2:]) + fine)

    def _skipped(self, query: FeaturePyramid, encoding: DCAMAEncoding) -> Tensor:
        """Compute the part of the mixer's first convolution that comes from the skipped features."""
        mixed = self._mixed(query[1][-1], query[0][-1], of_support=False)
        return mixed + resize_aligned(encoding.mixed, query.sizes[0]) + self.mixer1[0].bias[:, None, None]

    def _mixed(self, eighth: Tensor, quarter: Tensor, of_support: bool) -> Tensor:
        """Apply the first convolution of ``mixer1``, without bias, to skipped channels of the query or the supports.

        The convolution of concatenated channels is the sum of their convolutions, so the concatenation is never made.
        Shared parts are computed once: the supports' part for all queries, both parts for all ablations.

        Args:
            eighth (Tensor): Channels of level 1/8, (B, C, h, w); they are enlarged to the size of ``quarter``.
            quarter (Tensor): Channels of level 1/4.
            of_support (bool): Whether they come from the supports.
        """
        parts = self.mixer1[0].weight.split(self.mixed_channels, dim=1)
        weight_eighth, weight_quarter = parts[2::2] if of_support else parts[1::2]
        return F.conv2d(quarter, weight_quarter, padding=1) + conv_resized(eighth, weight_eighth, quarter.shape[-2:])


def conv_block(channels: Sequence[int], kernels: Sequence[int]) -> nn.Sequential:
    """Build convolution, GroupNorm of 4 groups and ReLU for each step from ``channels[i]`` to ``channels[i + 1]``."""
    layers: list[nn.Module] = []
    for c_in, c_out, kernel in zip(channels, channels[1:], kernels):
        layers += [nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2), nn.GroupNorm(4, c_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def mixer(c_in: int, c_mid: int, c_out: int, last_relu: bool) -> nn.Sequential:
    """Build two 3 x 3 convolutions without norm."""
    layers = [nn.Conv2d(c_in, c_mid, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(c_mid, c_out, 3, padding=1)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if last_relu else nn.Sequential(*layers)


def _doubled(x: Tensor) -> Tensor:
    return resize_aligned(x, [2 * side for side in x.shape[-2:]])


def mask_values(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Resize masks to soft values of each support position: (B, K, H, W) -> (B, K * h * w, 1)."""
    return resize_aligned(masks, size).flatten(1).unsqueeze(-1)

"""DCAMA written down formula by formula, as the measure for the streamed head.

Nothing is shared between layers, nothing is streamed: a layer's scores are one (heads, query, support) matrix, its
softmax another, the mask is resized again for every layer, and the attention of the last layer of each level stays in
memory for inspection, as in the released implementation of the paper (Shi et al., ECCV 2022).
"""
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.models import DCAMAHead, FeaturePyramid
from mmfss.models.layers.positional_encoding import sinusoidal_encoding

MAX_TOKENS = 10000


class ExplicitDCAMA(nn.Module):
    """The computation of :class:`DCAMAHead`, with its weights, done the plain way.

    Letters: B episodes, K shots, levels 0 to 3 at strides 4 to 32, Q = h * w and S = K * h' * w' positions of query and
    support.

    Args:
        head (DCAMAHead): Whose weights to use. They are shared, not copied.
        keep_attention (bool): Keep the last attention of each level, (B, heads, Q, S), in :attr:`attention`, like the
            released implementation. Defaults to True.
    """

    def __init__(self, head: DCAMAHead, keep_attention: bool = True) -> None:
        super().__init__()
        self.head = head
        self.keep_attention = keep_attention
        self.attention: dict[int, Tensor] = {}
        self.tables = nn.ParameterList(
            nn.Parameter(sinusoidal_encoding(MAX_TOKENS, block.query.in_features), requires_grad=False)
            for block in head.attention)

    def forward(self, query: FeaturePyramid, support: FeaturePyramid, masks: Tensor) -> Tensor:
        """Logits (B, 2, h, w) at four times the size of level 0.

        Args:
            query (FeaturePyramid): Features of B query images.
            support (FeaturePyramid): Features of B * K support images, the K shots of an episode together.
            masks (Tensor): Support masks in [0, 1], shape (B, K, H, W).
        """
        return self.decode(self.coarse_masks(query, support, masks), query, support, masks.shape[1])

    def coarse_masks(self, query: FeaturePyramid, support: FeaturePyramid, masks: Tensor) -> list[Tensor]:
        """One coarse query mask per attended layer in network order, each (B, 1, h, w)."""
        coarse = []
        for index, level in enumerate(self.head.layer_level):
            position = index - self.head.layer_level.index(level)
            query_map, support_map = query[level][position], support[level][position]
            tokens = self.project(index, query_map, support_map, masks.shape[1])
            coarse.append(self.coarse_mask(index, *tokens, masks, query_map.shape[-2:], support_map.shape[-2:]))
        return coarse

    def project(self, index: int, query: Tensor, support: Tensor, num_shots: int) -> tuple[Tensor, Tensor]:
        """Tokens of layer ``index``: maps (B, C, h, w) and (B * K, C, h', w') -> (B, Q, C) and (B, S, C)."""
        kind = self.head.layer_attention[index]
        block = self.head.attention[kind]
        shots = support.unflatten(0, (-1, num_shots)).unbind(1)
        keys = torch.cat([self.tokens(kind, shot) for shot in shots], dim=1)
        return block.query(self.tokens(kind, query)), block.key(keys)

    def coarse_mask(self, index: int, query: Tensor, key: Tensor, masks: Tensor, query_size: tuple[int, int],
                    support_size: tuple[int, int]) -> Tensor:
        """Layer ``index``: mean over heads of softmax(Q K^T / sqrt(d)) V, (B, 1, h, w).

        Args:
            index (int): Number of the layer among the attended ones.
            query (Tensor): Projected query tokens, (B, Q, C).
            key (Tensor): Projected support tokens, (B, S, C).
            masks (Tensor): Support masks, (B, K, H, W).
            query_size (tuple[int, int]): (h, w) of the query's map.
            support_size (tuple[int, int]): (h', w') of a support's map.
        """
        block = self.head.attention[self.head.layer_attention[index]]
        q, k = (split_heads(x, block.num_heads) for x in (query, key))
        value = torch.cat([resize(mask.unsqueeze(1), support_size).flatten(1) for mask in masks.unbind(1)], dim=1)
        value = value[:, None, :, None].repeat(1, block.num_heads, 1, 1)

        scores = torch.matmul(q, k.transpose(-2, -1)) / sqrt(q.shape[-1])
        attention = F.dropout(F.softmax(scores, dim=-1), block.attention_dropout, self.training)
        if self.keep_attention:
            self.attention[self.head.layer_level[index]] = attention
        return torch.matmul(attention, value).mean(1).transpose(1, 2).unflatten(2, query_size)

    def tokens(self, kind: int, feature: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, h * w, C) with the code of the raster position."""
        tokens = feature.flatten(2).permute(0, 2, 1)
        coded = tokens + self.tables[kind][:tokens.shape[1]]
        return F.dropout(coded, self.head.attention[kind].dropout.p, self.training)

    def decode(self, coarse: list[Tensor], query: FeaturePyramid, support: FeaturePyramid, num_shots: int) -> Tensor:
        """Refine, cascade, and mix with the skipped features: logits (B, 2, h, w)."""
        head = self.head
        stacks = [
            torch.cat([mask for mask, at in zip(coarse, head.layer_level) if at == level], dim=1) for level in (1, 2, 3)
        ]
        eighth, sixteenth, thirtysecond = (refine(stack) for refine, stack in zip(head.refine, stacks))
        x = head.merge[1](resize(thirtysecond, sixteenth.shape[-2:]) + sixteenth)
        x = head.merge[0](resize(x, eighth.shape[-2:]) + eighth)
        skip_quarter, skip_eighth = (level[-1].unflatten(0, (-1, num_shots)).max(dim=1).values for level in support[:2])
        x = torch.cat((x, query[1][-1], skip_eighth), dim=1)
        x = resize(x, query[0][-1].shape[-2:])
        x = torch.cat((x, query[0][-1], skip_quarter), dim=1)
        x = head.mixer1(x)
        x = head.mixer2(resize(x, (2 * x.shape[-2], 2 * x.shape[-1])))
        return head.mixer3(resize(x, (2 * x.shape[-2], 2 * x.shape[-1])))


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, L, C) -> (B, num_heads, L, C / num_heads)."""
    return x.view(*x.shape[:2], num_heads, -1).transpose(1, 2)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resizing with aligned corners."""
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=True)

"""Affinities: how every support position votes for every query position.

An affinity represents the score matrix S (query positions x support positions) of one compared layer *without holding
it*. A prediction reads it forwards, softmax(S) V; an explanation reads it backwards, softmax(S)^T W. Both are streamed:
memory is linear in the number of positions.
"""
from abc import ABCMeta, abstractmethod
from itertools import product
from math import prod, sqrt
from typing import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.exporting import exporting
from .dropout_attention import dropout_attention

CHUNK_SIZE = 256
"""Query positions handled at a time by default."""


class Affinity(metaclass=ABCMeta):
    """Scores between the positions of a query and of its supports, in one layer.

    Letters: B episodes, Q = h * w query positions in raster order, S = K * h' * w' support positions, shot by shot and
    in raster order within each.

    Args:
        query_size (tuple[int, int]): (h, w).
        support_size (tuple[int, int, int]): (K, h', w').

    Attributes:
        layer (int): Number of the compared layer, for heads that keep something of the supports for each layer. Such a
            head sets it in ``match``; sizes do not tell layers apart.

    Example:
        >>> import torch
        >>> from mmfss.models.affinities import Affinity
        >>> class ColorAffinity(Affinity):
        ...     # The closer two colors, the higher the score; images are (B, 3, H, W).
        ...     def __init__(self, query, support):
        ...         super().__init__(query.shape[-2:], (1, *support.shape[-2:]))
        ...         self.query, self.support = (x.flatten(2).transpose(1, 2) for x in (query, support))
        ...     def scores(self, start, stop):
        ...         return -torch.cdist(self.query[:, start:stop], self.support)
        >>> affinity = ColorAffinity(torch.rand(1, 3, 4, 6), torch.rand(1, 3, 5, 5))
        >>> affinity.attend(torch.ones(1, 25, 1)).shape  # forwards: a value for each of 4 * 6 query positions
        torch.Size([1, 24, 1])
        >>> affinity.vote(torch.ones(1, 24, 2)).shape  # backwards: two values for each support position
        torch.Size([1, 25, 2])
    """

    attends_to_query = False
    """Whether a query position also attends to its own image, so that its row sums to less than 1 over the supports."""

    def __init__(self, query_size: tuple[int, int], support_size: tuple[int, int, int]) -> None:
        self.query_size = tuple(query_size)
        self.support_size = tuple(support_size)
        self.layer = 0

    @property
    def num_query(self) -> int:
        """Number of query positions, Q."""
        return prod(self.query_size)

    @property
    def num_support(self) -> int:
        """Number of support positions, S."""
        return prod(self.support_size)

    @abstractmethod
    def scores(self, start: int, stop: int) -> Tensor:
        """Compute raw scores of the query positions ``start`` to ``stop``, shape (B, stop - start, S)."""

    def attend(self, values: Tensor) -> Tensor:
        """Average the support values for each query position, softmax(S) V.

        Args:
            values (Tensor): Shape (B, S, V).

        Returns:
            Tensor: Shape (B, Q, V).
        """
        rows = [self.scores(start, stop).softmax(-1) @ values for start, stop in chunks(self.num_query, CHUNK_SIZE)]
        return torch.cat(rows, dim=1)

    def dense(self) -> Tensor:
        """Compute the whole matrix of raw scores, (B, Q, S), for small cases and tests: its memory is quadratic."""
        return self.scores(0, self.num_query)

    @torch.no_grad()
    def nearest(self, groups: int = 1, chunk_size: int = CHUNK_SIZE) -> Tensor:
        """Find the support position of highest score for each query position, in each of several groups.

        Time O(Q S d) for scores of d channels, memory O(chunk_size S + Q groups).

        Args:
            groups (int): Number of equal, consecutive groups of support positions: K for each shot apart, 1 (the
                default) for all together.
            chunk_size (int): Query positions handled at a time.

        Returns:
            Tensor: Index within the group, the first of equals, int64, shape (B, Q, groups).

        Raises:
            ValueError: If the support positions cannot be cut into so many equal groups.

        Example:
            >>> import torch
            >>> from mmfss.models.affinities import CosineAffinity
            >>> query = torch.eye(3)[None]  # 3 positions of 3 channels
            >>> key = torch.eye(3)[[2, 0, 1, 1]][None]  # 2 shots of 2 positions
            >>> CosineAffinity(query, key, query_size=(1, 3), support_size=(2, 1, 2)).nearest(groups=2)
            tensor([[[1, 0],
                     [0, 0],
                     [0, 0]]])
        """
        if groups < 1 or self.num_support % groups:
            raise ValueError(f'{self.num_support} support positions cannot be cut into {groups} equal groups.')
        rows = chunks(self.num_query, chunk_size)
        places = [self.scores(start, stop).unflatten(-1, (groups, -1)).argmax(-1) for start, stop in rows]
        return torch.cat(places, dim=1)

    def vote(self, weights: Tensor, softmax: bool = True, chunk_size: int = CHUNK_SIZE) -> Tensor:
        """Sum the query weights that each support position receives, softmax(S)^T W.

        Time O(Q S (d + W)) for scores of d channels, memory O(chunk_size S + (Q + S) d).

        Args:
            weights (Tensor): Weights of the query positions, shape (B, Q, W); the result has their precision.
            softmax (bool): Normalize the scores of a query position over all support positions; otherwise S^T W.
            chunk_size (int): Query positions handled at a time.

        Returns:
            Tensor: Shape (B, S, W).
        """
        rows, votes = weights.transpose(1, 2), 0
        for start, stop in chunks(self.num_query, chunk_size):
            scores = self.scores(start, stop).to(weights.dtype)
            if softmax:
                scores = scores.softmax(-1)
            # Keep the precision of the weights under autocast: these are sums over thousands of positions.
            with torch.autocast(weights.device.type, enabled=False):
                votes = votes + rows[..., start:stop] @ scores
        return votes.transpose(1, 2)


class DotProductAffinity(Affinity):
    """Score positions by scaled dot products of several heads, as attention does.

    Heads are contiguous groups of d = C / num_heads channels, a head's score is q k / sqrt(d).

    - :meth:`attend` is attention: the mean over heads of softmax(S_head) V.
    - :meth:`scores`, :meth:`dense` and :meth:`vote` use the *mean score over heads*, the affinity that AffEx explains.
      The mean of the heads' products is the product of the whole vectors divided by num_heads * sqrt(d), so it costs
      one head.

    Args:
        query (Tensor): Projected query positions, shape (B, Q, C).
        key (Tensor): Projected support positions, shape (B, S, C), or (1, S, C) to share one support set.
        num_heads (int): Number of heads.
        query_size (tuple[int, int]): (h, w).
        support_size (tuple[int, int, int]): (K, h', w').
        dropout (float): Probability to drop an attention weight. Defaults to 0.

    Example:
        >>> import torch
        >>> from mmfss.models.affinities import DotProductAffinity
        >>> query, key = torch.rand(1, 24, 32), torch.rand(1, 50, 32)  # 4 x 6 positions, and 5 x 5 of two supports
        >>> affinity = DotProductAffinity(query, key, num_heads=8, query_size=(4, 6), support_size=(2, 5, 5))
        >>> affinity.attend(torch.rand(1, 50, 1)).shape
        torch.Size([1, 24, 1])
        >>> affinity.dense().shape
        torch.Size([1, 24, 50])
    """

    def __init__(self,
                 query: Tensor,
                 key: Tensor,
                 num_heads: int,
                 query_size: tuple[int, int],
                 support_size: tuple[int, int, int],
                 dropout: float = 0.) -> None:
        super().__init__(query_size, support_size)
        self.query = query
        self.key = key.expand(query.shape[0], -1, -1)
        self.num_heads = num_heads
        self.dropout = dropout

    def scores(self, start: int, stop: int) -> Tensor:
        width = self.query.shape[-1]
        scale = 1 / (self.num_heads * sqrt(width // self.num_heads))
        return scale * self.query[:, start:stop] @ self.key.transpose(1, 2)

    def attend(self, values: Tensor) -> Tensor:
        query, key = self._heads(self.query), self._heads(self.key)
        values = values.to(query.dtype).expand(query.shape[0], -1, -1)
        if exporting():
            return chunked_attention(query, key, values)
        if query.device.type == 'cpu':
            # On the CPU, torch drops attention weights only in its quadratic kernel.
            if self.dropout > 0:
                return dropout_attention(query, key, values, self.dropout)
            if can_stream(query, key, values):
                return streamed_attention(query, key, values)
        return padded_attention(query, key, values, self.dropout)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, num_heads, L, d)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def chunks(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Split ``range(total)`` into consecutive (start, stop) pairs."""
    return ((start, min(start + size, total)) for start in range(0, total, size))


def padded_attention(query: Tensor, key: Tensor, values: Tensor, dropout: float = 0.) -> Tensor:
    """Compute attention with torch's fused kernels: mean over heads, values shared by the heads.

    The fused kernels need values as wide as the keys, else they fall back to the quadratic product. Therefore narrow
    values are padded with zeros, and wide ones are split.

    Args:
        query (Tensor): Shape (B, heads, Q, d).
        key (Tensor): Shape (B, heads, S, d).
        values (Tensor): Shape (B, S, V).
        dropout (float): Probability to drop an attention weight.

    Returns:
        Tensor: Shape (B, Q, V).
    """
    width = query.shape[-1]
    parts = []
    for part in values.split(width, dim=-1):
        padded = F.pad(part, (0, width - part.shape[-1])).unsqueeze(1).expand(-1, query.shape[1], -1, -1)
        out = F.scaled_dot_product_attention(query, key, padded, dropout_p=dropout)
        parts.append(out[..., :part.shape[-1]].mean(1))
    return torch.cat(parts, dim=-1)


def can_stream(*tensors: Tensor) -> bool:
    """Check whether :func:`streamed_attention` may be used: full precision, no gradient, not being compiled."""
    differentiable = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    precise = all(x.dtype in (torch.float32, torch.float64) for x in tensors)
    return precise and not differentiable and not torch.compiler.is_compiling()


def streamed_attention(query: Tensor, key: Tensor, values: Tensor, chunk_elements: int = 2**20) -> Tensor:
    """Compute attention (mean over heads) in cache-sized blocks, without gradient: the fastest way on a CPU.

    One buffer holds the scores of one head and some query positions at a time. The fused kernel would multiply the
    attention weights with d columns; only V of them are needed.

    Args:
        query (Tensor): Shape (B, heads, Q, d).
        key (Tensor): Shape (B, heads, S, d).
        values (Tensor): Shape (B, S, V).
        chunk_elements (int): Scores held at a time by each thread. Defaults to 2**20 (4 MiB in float32).

    Returns:
        Tensor: Shape (B, Q, V).
    """
    batch, heads, num_query, width = query.shape
    rows = min(num_query, max(32, chunk_elements * torch.get_num_threads() // key.shape[2]))
    buffer = query.new_empty(rows, key.shape[2])
    out = query.new_zeros(batch, num_query, values.shape[-1])
    for episode, head in product(range(batch), range(heads)):
        scaled = query[episode, head] / sqrt(width)
        columns = key[episode, head].contiguous().t()
        for start, stop in chunks(num_query, rows):
            weights = torch.mm(scaled[start:stop], columns, out=buffer[:stop - start])
            torch.softmax(weights, dim=-1, out=weights)
            out[episode, start:stop].addmm_(weights, values[episode], alpha=1 / heads)
    return out


def chunked_attention(query: Tensor, key: Tensor, values: Tensor, chunk_elements: int = 2**24) -> Tensor:
    """Compute attention (mean over heads) by matrix products of some query positions at a time, for exported graphs.

    Memory is ``chunk_elements`` scores (64 MiB in float32) for each element of the batch. The shapes are those of
    :func:`padded_attention`.
    """
    rows = max(1, chunk_elements // (query.shape[1] * key.shape[2]))
    return torch.cat([
        explicit_attention(query[:, :, start:stop], key, values) for start, stop in chunks(query.shape[2], rows)
    ], dim=1)


def explicit_attention(query: Tensor, key: Tensor, values: Tensor) -> Tensor:
    """Compute attention (mean over heads) and hold all its weights; shapes as for :func:`padded_attention`."""
    weights = (query @ key.transpose(-1, -2) / sqrt(query.shape[-1])).softmax(-1)
    return (weights @ values.unsqueeze(1)).mean(1)

"""Affinity of self-attention that also reads supports."""
from math import sqrt
from typing import Optional

import torch
from torch import Tensor

from .affinity import CHUNK_SIZE, Affinity, chunks


class FusedAttentionAffinity(Affinity):
    r"""Attention of query positions to the keys of supports, in a softmax that also runs over the query's own keys.

    Letters: B queries, Q positions, S support positions, H heads of width d. With the own keys :math:`k'` and the
    support keys k, head by head,

    .. math:: P_{qs} = \frac{1}{H} \sum_h \frac{e^{q_h k_{hs} / \sqrt d}}
                       {\sum_{q'} e^{q_h k'_{hq'} / \sqrt d} + \sum_{s'} e^{q_h k_{hs'} / \sqrt d}}.

    This is the attention of the network itself, mean over heads. Its rows sum to less than 1: the rest is what the
    query keeps to itself, see :meth:`own_share`. :meth:`attend` and :meth:`vote` read P forwards and backwards, a chunk
    of query positions and a head at a time, in time O(Q (Q + S) H d) and memory O(chunk (Q + S)). :meth:`scores` is the
    mean score of the heads.

    Args:
        query (Tensor): Projected queries, (B, Q, H * d).
        own_key (Tensor): Their own keys, (B, Q, H * d).
        key (Tensor): Keys of supports, (B, S', H * d), or (1, S', H * d) to share one support set.
        num_heads (int): H.
        query_size (tuple[int, int]): (h, w).
        support_size (tuple[int, int, int]): (K, h', w').
        drawn (Tensor, optional): Which of the S = K * h' * w' positions the S' keys are; nothing votes for the others,
            and their scores are 0. None: all in order.
    """

    attends_to_query = True

    def __init__(self,
                 query: Tensor,
                 own_key: Tensor,
                 key: Tensor,
                 num_heads: int,
                 query_size: tuple[int, int],
                 support_size: tuple[int, int, int],
                 drawn: Optional[Tensor] = None) -> None:
        super().__init__(query_size, support_size)
        self.query, self.own_key = query, own_key
        self.key = key.to(query).expand(len(query), -1, -1)
        self.num_heads = num_heads
        self.drawn = drawn

    def scores(self, start: int, stop: int) -> Tensor:
        width = self.query.shape[-1]
        scale = 1 / (self.num_heads * sqrt(width // self.num_heads))
        return self._placed(scale * self.query[:, start:stop] @ self.key.transpose(1, 2))

    def weights(self, start: int, stop: int) -> Tensor:
        """Compute P of the query positions ``start`` to ``stop``, (B, stop - start, S)."""
        return self._placed(self._weights(start, stop))

    def attend(self, values: Tensor) -> Tensor:
        """Sum the support values by attention, P V; the query's own values count as 0."""
        values = values if self.drawn is None else values[:, self.drawn]
        rows = chunks(self.num_query, CHUNK_SIZE)
        return torch.cat([self._weights(*pair).to(values.dtype) @ values for pair in rows], dim=1)

    def vote(self, weights: Tensor, softmax: bool = True, chunk_size: int = CHUNK_SIZE) -> Tensor:
        """Sum the query weights that each support position receives, P^T W; with ``softmax=False``, of raw scores."""
        if not softmax:
            return super().vote(weights, softmax, chunk_size)
        rows, votes = weights.transpose(1, 2), 0
        for start, stop in chunks(self.num_query, chunk_size):
            attention = self._weights(start, stop).to(weights.dtype)
            # Keep the precision of the weights under autocast: these are sums over thousands of positions.
            with torch.autocast(weights.device.type, enabled=False):
                votes = votes + rows[..., start:stop] @ attention
        return self._placed(votes).transpose(1, 2)

    def own_share(self) -> Tensor:
        """Compute the part of its attention that each query position keeps to its own image, in (0, 1), (B, Q)."""
        return torch.cat([1 - self._weights(*rows).sum(-1) for rows in chunks(self.num_query, CHUNK_SIZE)], dim=1)

    def _weights(self, start: int, stop: int) -> Tensor:
        """Compute the columns of P that belong to the stored keys."""
        total, num_own = 0, self.own_key.shape[1]
        keys = [x.chunk(self.num_heads, dim=-1) for x in (self.own_key, self.key)]
        for query, own, support in zip(self.query[:, start:stop].chunk(self.num_heads, dim=-1), *keys):
            scaled = query / sqrt(query.shape[-1])
            scores = torch.cat([scaled @ x.transpose(1, 2) for x in (own, support)], dim=-1)
            total = total + scores.softmax(-1)[..., num_own:]
        return total / self.num_heads

    def _placed(self, columns: Tensor) -> Tensor:
        """Put the columns (..., S') of the stored keys in the places of all positions, (..., S)."""
        if self.drawn is None:
            return columns
        return columns.new_zeros(*columns.shape[:-1], self.num_support).index_copy(-1, self.drawn, columns)

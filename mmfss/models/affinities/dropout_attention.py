"""Attention with dropout on a CPU: streamed forwards and backwards, with a mask that is hashed instead of stored."""
from itertools import product
from math import sqrt
from typing import Any, Iterator, NamedTuple, Optional, Sequence

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

LEVELS = 2**16
"""Resolution of a dropout probability: weights are dropped by 16 random bits each."""
GOLDEN_RATIO = 0x9e3779b9
"""As a fraction of 2**32; its multiples are spread evenly."""


@torch.compiler.disable
def dropout_attention(query: Tensor, key: Tensor, values: Tensor, dropout: float, tile: int = 2**19) -> Tensor:
    """Compute attention (mean over heads) with dropout of the attention weights, in tiles that fit a CPU's cache.

    A tile is some query positions of one head with all support positions. The backward pass computes its weights again;
    which of them are dropped follows from their number and from a seed of PyTorch's generator, see :class:`HashedMask`.
    With H heads of width d: time O(H Q S d), memory O(tile + (Q + S) H d).

    Args:
        query (Tensor): Shape (B, H, Q, d).
        key (Tensor): Shape (B, H, S, d).
        values (Tensor): Shape (B, S, V).
        dropout (float): Probability to drop a weight, in [0, 1), rounded to a multiple of 2**-16. Kept weights are
            divided by the probability to be kept.
        tile (int): Attention weights held at a time. Defaults to 2**19 (2 MiB in float32).

    Returns:
        Tensor: Shape (B, Q, V).

    Example:
        >>> import torch
        >>> from mmfss.models.affinities.dropout_attention import dropout_attention
        >>> query, key, values = torch.rand(1, 8, 24, 4), torch.rand(1, 8, 50, 4), torch.ones(1, 50, 1)
        >>> dropout_attention(query, key, values, dropout=0.5).shape
        torch.Size([1, 24, 1])
    """
    exact = torch.promote_types(query.dtype, torch.float32)
    scaled, keys, weighted = query.to(exact) / sqrt(query.shape[-1]), key.to(exact), values.to(exact)
    seed = torch.randint(2**31, (2, )).tolist()
    return _DropoutAttention.apply(scaled, keys, weighted, dropout, seed, tile).to(query.dtype)


class HashedMask:
    """Decide which attention weights are kept by hashing their numbers, again and again the same.

    A mask that is drawn costs a call of the generator for each weight, and must be stored or drawn twice. Here a 32-bit
    integer hash of a counter gives the 16 random bits of two weights, in vectorized operations. The hash multiplies by
    the golden ratio, then does two rounds of shift, exclusive or and multiplication ("lowbias32" of Wellons' hash
    prospector). One half of the seed begins the counter, the other the second round.

    Args:
        seed (Sequence[int]): Two numbers below 2**31.
        dropout (float): Probability to drop a weight, in [0, 1).
        rows, columns (int): Size of the largest tile.
        like (Tensor): Gives the type of the mask.
    """

    def __init__(self, seed: Sequence[int], dropout: float, rows: int, columns: int, like: Tensor) -> None:
        kept = max(1, round((1 - dropout) * LEVELS))
        self.scale = LEVELS / kept
        self.seed, self.highest = seed, kept - 1 - LEVELS // 2
        self.counter = torch.arange((rows * columns + 1) // 2, dtype=torch.int32).mul_(_signed(GOLDEN_RATIO))
        self.bits, self.shifted = (torch.empty_like(self.counter) for _ in range(2))
        self.mask = like.new_empty(rows, columns)

    def __call__(self, tile: int, rows: int) -> Tensor:
        """Return 1 for each kept weight of a tile and 0 for each other, (rows, columns); valid until the next call."""
        start = (self.seed[0] + tile * len(self.counter)) * GOLDEN_RATIO
        bits = torch.add(self.counter, _signed(start), out=self.bits)
        self._fold(16).mul_(0x7feb352d).add_(self.seed[1])
        self._fold(15).mul_(_signed(0x846ca68b))
        self._fold(16)
        keep = bits.view(torch.int16)[:rows * self.mask.shape[1]].le_(self.highest)
        return self.mask[:rows].copy_(keep.view(rows, -1))

    def _fold(self, shift: int) -> Tensor:
        """Mix the high bits into the low ones, x ^= x >> shift; the shift brings in zeros."""
        torch.bitwise_right_shift(self.bits, shift, out=self.shifted).bitwise_and_((1 << 32 - shift) - 1)
        return self.bits.bitwise_xor_(self.shifted)


class _DropoutAttention(torch.autograd.Function):
    """Mean over heads of (softmax(q k / sqrt(d)) * mask) v, and its derivatives, for q that is divided already."""

    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, key: Tensor, values: Tensor, *options: Any) -> Tensor:
        heads = query.new_empty(*query.shape[:3], values.shape[-1])
        for place, tile in _tiles(query, key, *options):
            torch.mm(tile.weights.mul_(tile.mask), values[place[0]], out=heads[place]).mul_(tile.scale)
        ctx.save_for_backward(query, key, values, heads)
        ctx.options = options
        return heads.mean(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        query, key, values, heads = ctx.saved_tensors
        grad = grad / query.shape[1]
        grad_query, grad_key, grad_values = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(values)
        # The softmax subtracts the mean of the derivatives by its weights, which is the derivative times the result.
        mean = (heads * grad.unsqueeze(1)).sum(-1, keepdim=True)
        by_weight = None
        for (episode, head, rows), tile in _tiles(query, key, *ctx.options):
            of_rows = grad[episode, rows] * tile.scale
            if ctx.needs_input_grad[2]:
                grad_values[episode].addmm_((tile.weights * tile.mask).t(), of_rows)
            by_weight = torch.empty_like(tile.mask) if by_weight is None else by_weight
            changes = torch.mm(of_rows, values[episode].t(), out=by_weight[:len(of_rows)]).mul_(tile.mask)
            changes.sub_(mean[episode, head, rows]).mul_(tile.weights)
            torch.mm(changes, tile.key, out=grad_query[episode, head, rows])
            grad_key[episode, head].addmm_(changes.t(), tile.query)
        return grad_query, grad_key, grad_values, None, None, None


class _Tile(NamedTuple):
    """Hold the weights (rows, S) of some query positions, which of them are kept, and what they are computed from."""
    query: Tensor
    key: Tensor
    weights: Tensor
    mask: Tensor
    scale: float


def _tiles(query: Tensor, key: Tensor, dropout: float, seed: Sequence[int],
           size: int) -> Iterator[tuple[tuple[int, int, slice], _Tile]]:
    """Yield every tile with its place (episode, head, rows); the next one overwrites its weights and its mask."""
    batch, heads, num_query, _ = query.shape
    num_support = key.shape[2]
    height = min(num_query, max(32, size // num_support))
    mask = HashedMask(seed, dropout, height, num_support, like=query)
    buffer, number = query.new_empty(height, num_support), 0
    for episode, head in product(range(batch), range(heads)):
        keys = key[episode, head].contiguous()
        columns = keys.t().contiguous()
        for start in range(0, num_query, height):
            rows = slice(start, min(start + height, num_query))
            queries = query[episode, head, rows]
            weights = torch.mm(queries, columns, out=buffer[:len(queries)])
            torch.softmax(weights, dim=-1, out=weights)
            yield (episode, head, rows), _Tile(queries, keys, weights, mask(number, len(queries)), mask.scale)
            number += 1


def _signed(number: int) -> int:
    """Wrap a number to 32 bits with sign."""
    return (number + 2**31) % 2**32 - 2**31

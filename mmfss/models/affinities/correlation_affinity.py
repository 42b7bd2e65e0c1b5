"""Affinities of correlation-based methods."""
from typing import Optional, Sequence

import torch
from torch import Tensor

from .affinity import Affinity


def unit(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Divide vectors along the last axis by their norm plus ``eps``; zero stays zero."""
    return x / (x.norm(dim=-1, keepdim=True) + eps)


class CorrelationAffinity(Affinity):
    """Score positions by cosine similarities, with negative values set to zero.

    Letters: B episodes, K shots, Q = h * w query positions, S = h' * w' positions of one support, C channels of an
    embedding. A support may have several *sides*, such as foreground and background. Each side has a correlation
    tensor, and the score that explains a match is their sum.

    Embeddings have length 1, or 0 where there is nothing to match. The correlation is computed from them on demand, for
    some query positions (:meth:`scores`) or for one shot (:meth:`correlation`).

    Args:
        query (Tensor): Query embeddings, shape (B, K, Q, C), or (B, 1, Q, C) if they are the same for all shots.
        sides (Sequence[Tensor]): Support embeddings of each side, shape (B, K, S, C), or (1, K, S, C) to share one
            support set.
        query_size (tuple[int, int]): (h, w).
        support_size (tuple[int, int, int]): (K, h', w').
        occupied (Tensor, optional): Boolean, (B, K, S) or (1, K, S): false where the embeddings of all sides are known
            to be zero, so that the computation skips them.
    """

    def __init__(self,
                 query: Tensor,
                 sides: Sequence[Tensor],
                 query_size: tuple[int, int],
                 support_size: tuple[int, int, int],
                 occupied: Optional[Tensor] = None) -> None:
        super().__init__(query_size, support_size)
        self.query = query
        self.sides = tuple(side.expand(query.shape[0], -1, -1, -1) for side in sides)
        self.occupied = None if occupied is None else occupied.expand(query.shape[0], -1, -1)

    @property
    def num_shots(self) -> int:
        """K."""
        return self.support_size[0]

    def scores(self, start: int, stop: int) -> Tensor:
        rows = self.query[:, :, start:stop]
        total = sum((rows @ side.transpose(-1, -2)).relu() for side in self.sides)
        return total.transpose(1, 2).flatten(2)

    def correlation(self, shot: int, side: int = 0, out: Optional[Tensor] = None) -> Tensor:
        """Compute the correlation with one support.

        Args:
            shot (int): The support, 0..K-1.
            side (int): Which side of it.
            out (Tensor, optional): A tensor (B, h, w, h', w') to write to, without recording gradients. On a CPU
                columns of unoccupied positions are then not computed, unless a graph is being compiled.

        Returns:
            Tensor: Values in [0, 1], shape (B, h, w, h', w').
        """
        query, support = self.query[:, min(shot, self.query.shape[1] - 1)], self.sides[side][:, shot]
        if out is None:
            return (query @ support.transpose(-1, -2)).relu().view(-1, *self.query_size, *self.support_size[1:])
        if self.occupied is None or support.device.type != 'cpu' or torch.compiler.is_compiling():
            # Which columns there are is not asked: a GPU would have to be waited for, and a graph has one shape.
            return out.copy_((query @ support.transpose(-1, -2)).relu_().view_as(out))
        for episode, kept in enumerate(self.occupied[:, shot]):
            self._write(query[episode], support[episode], kept, out[episode])
        return out

    def correlations(self) -> Tensor:
        """Compute all correlations, shape (B, K, sides, h, w, h', w')."""
        return torch.stack([
            torch.stack([self.correlation(shot, side) for side in range(len(self.sides))], dim=1)
            for shot in range(self.num_shots)
        ], dim=1)

    @staticmethod
    def _write(query: Tensor, support: Tensor, kept: Tensor, out: Tensor) -> None:
        if kept.all():
            out.copy_((query @ support.t()).relu_().view_as(out))
            return
        columns = kept.nonzero().squeeze(1)
        matched = (query @ support[columns].t()).relu_()
        out.zero_()
        out.view(*out.shape[:2], -1)[..., columns] = matched.view(*out.shape[:2], -1).to(out.dtype)

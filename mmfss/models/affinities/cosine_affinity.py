"""Affinity of unit vectors by their cosine."""
from torch import Tensor

from ..layers.precision import full_precision
from .affinity import Affinity


class CosineAffinity(Affinity):
    """Score positions by the cosine of their unit vectors, without any scale.

    The cosines are computed in float32, under autocast too: rounding them to half precision changes which support
    position is nearest.

    Args:
        query (Tensor): Unit vectors of the query positions, shape (B, Q, C).
        key (Tensor): Unit vectors of the support positions, shape (B, S, C), or (1, S, C) to share one support set.
        query_size (tuple[int, int]): (h, w).
        support_size (tuple[int, int, int]): (K, h', w').

    Example:
        >>> import torch
        >>> from mmfss.models.affinities import CosineAffinity
        >>> query, key = (torch.nn.functional.normalize(torch.rand(1, n, 8), dim=-1) for n in (6, 10))
        >>> affinity = CosineAffinity(query, key, query_size=(2, 3), support_size=(2, 1, 5))
        >>> affinity.dense().shape
        torch.Size([1, 6, 10])
    """

    def __init__(self, query: Tensor, key: Tensor, query_size: tuple[int, int],
                 support_size: tuple[int, int, int]) -> None:
        super().__init__(query_size, support_size)
        self.query = query
        self.key = key.expand(query.shape[0], -1, -1)

    def scores(self, start: int, stop: int) -> Tensor:
        with full_precision(self.query.device):
            return self.query[:, start:stop] @ self.key.transpose(1, 2)

    def part(self, index: int, positions: Tensor) -> 'CosineAffinity':
        """Return the affinity of some query positions of one batch element.

        Args:
            index (int): Number of the element.
            positions (Tensor): Numbers of n query positions, shape (n, ).

        Returns:
            CosineAffinity: Of batch size 1; its ``query_size`` is (1, n).
        """
        query = self.query[index, positions][None]
        return CosineAffinity(query, self.key[index:index + 1], (1, len(positions)), self.support_size)

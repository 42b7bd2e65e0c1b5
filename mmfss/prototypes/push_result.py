"""Result of a prototype push, and its application to a head."""
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from mmfss.models import PrototypeHead
from .search import NearestCells


@dataclass
class PushResult:
    """Hold the result of a push of P prototypes.

    Attributes:
        vectors (Tensor): The nearest features, shape (P, D); where there is none, the prototype as it was.
        source (Tensor): Image index, row, column and scale, -1 where there is none, shape (P, 4), int64.
        size (Tensor): Height and width of the source's grid, shape (P, 2), int64.
        distance (Tensor): Squared distance to the source, shape (P,).
        kept (Tensor): Prototypes that stay, ascending, int64.
        absent (list[int]): Classes without a cell.
        duplicates (list[tuple[int, int]]): Pairs of a prototype that goes and the equal one that stays.
    """
    vectors: Tensor
    source: Tensor
    size: Tensor
    distance: Tensor
    kept: Tensor
    absent: list[int]
    duplicates: list[tuple[int, int]]


def resolve(search: NearestCells, head: PrototypeHead, absent: str = 'drop', duplicates: str = 'class') -> PushResult:
    """Decide for each prototype whether it is replaced or removed.

    Args:
        search (NearestCells): A finished search.
        head (PrototypeHead): Its prototypes, as they were.
        absent (str): See :class:`PrototypePush`.
        duplicates (str): See :class:`PrototypePush`.

    Returns:
        PushResult: The decisions.

    Raises:
        ValueError: If no prototype found a cell.
    """
    found = search.image >= 0
    if not bool(found.any()):
        raise ValueError('The data of the push has no cell of any class of the model: are its labels those of the '
                         'model, 0 to num_classes - 1 with 255 for void?')
    # Sources of found prototypes
    rows, cols = search.cell // search.size[:, 1].clamp(min=1), search.cell % search.size[:, 1].clamp(min=1)
    source = torch.stack((search.image, rows, cols, head.proto_scale), 1)
    vectors, distance = search.feature.clone(), search.distance.square()
    # Prototypes whose class has no cell
    lost = ~found
    if absent == 'collapse':
        vectors[lost] = search.origin[head.proto_scale[lost]]
        source[lost, :3] = 0
        distance[lost] = (vectors[lost] - head.prototypes.detach()[lost]).square().sum(1)
    else:
        vectors[lost], source[lost] = head.prototypes.detach()[lost], -1
    # Remove duplicates
    eligible = torch.ones_like(found) if absent == 'collapse' else found
    first = _first_equal(vectors, eligible, head if duplicates == 'class' else None)
    repeated = eligible & (first != torch.arange(len(first), device=first.device))
    classes = set(head.proto_class.unique().tolist()) - set(head.proto_class[found].unique().tolist())
    pairs = [(int(p), int(first[p])) for p in repeated.nonzero().flatten()]
    kept = (eligible & ~repeated).nonzero().flatten()
    return PushResult(vectors, source, search.size, distance, kept, sorted(classes), pairs)


def _first_equal(vectors: Tensor, eligible: Tensor, head: Optional[PrototypeHead]) -> Tensor:
    """Find the smallest index of an equal vector (of the same class and scale, if a head is given), shape (P,)."""
    keys = [vectors.cpu().numpy().view(np.int32).astype(np.int64), (~eligible).cpu().numpy()[:, None]]
    if head is not None:
        keys += [head.proto_class.cpu().numpy()[:, None], head.proto_scale.cpu().numpy()[:, None]]
    _, first, inverse = np.unique(np.concatenate(keys, 1), axis=0, return_index=True, return_inverse=True)
    return torch.from_numpy(first[inverse.reshape(-1)]).to(vectors.device)


def apply_push(head: PrototypeHead, result: PushResult) -> None:
    """Replace the kept prototypes and remove the others.

    Args:
        head (PrototypeHead): Changed in place.
        result (PushResult): See :func:`resolve`.
    """
    head.prototypes.data.copy_(result.vectors)
    head.proto_source.copy_(result.source)
    head.keep_prototypes(result.kept)

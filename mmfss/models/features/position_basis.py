"""Directions of a feature space that encode where in the image a position lies, not what it shows."""
from dataclasses import dataclass
from typing import Callable
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.precision import full_precision
from .locks import lock_of


@dataclass(frozen=True)
class PositionBasis:
    """Hold orthonormal directions: those that encode the position, and the others.

    Attributes:
        directions (Tensor): U, float32, shape (C, s), strongest first.
        others (Tensor): Directions orthogonal to them, shape (C, C - s).
        singular_values (Tensor): Strengths of all directions, descending, float64, shape (C, ).
    """
    directions: Tensor
    others: Tensor
    singular_values: Tensor

    @classmethod
    @torch.no_grad()
    def of_blank_image(cls, features: Tensor, num_components: int) -> 'PositionBasis':
        """Compute the basis from the features of an image that shows nothing (INSID3, section on positional bias).

        The positions' unit vectors, minus their mean, span the directions of the position. Instead of a singular value
        decomposition of the (C x Q) matrix E, the eigenvectors of E E^T (C x C) are computed, in float64: time
        O(C^2 (C + Q)).

        Args:
            features (Tensor): Features of the blank image, shape (C, h, w).
            num_components (int): Number s of directions to find.

        Raises:
            ValueError: If the image has too few positions to tell so many directions.
        """
        num_positions = features[0].numel()
        if num_components >= num_positions:
            raise ValueError(f'num_components={num_components} directions of the position cannot be found with the '
                             f'{num_positions} positions of a grid of {_grid(features)}: enlarge the images or set '
                             f'num_components below {num_positions}.')
        columns = F.normalize(features.flatten(1).double(), dim=0, eps=1e-12)
        columns = columns - columns.mean(1, keepdim=True)
        strengths, vectors = torch.linalg.eigh(columns @ columns.T)  # ascending
        vectors = vectors.flip(1).float()
        return cls(vectors[:, :num_components].contiguous(), vectors[:, num_components:].contiguous(),
                   strengths.flip(0).clamp(min=0).sqrt())

    def removed_from(self, features: Tensor, compact: bool) -> Tensor:
        """Remove the directions from features (B, C, h, w), and normalize the rest.

        Args:
            features (Tensor): Float32.
            compact (bool): Return the C - s coordinates along the other directions, instead of C channels. Dot
                products are the same.

        Returns:
            Tensor: Unit vectors, shape (B, C - s, h, w) or (B, C, h, w).
        """
        with full_precision(features.device):
            positions = features.flatten(2)
            if compact:
                rest = self.others.T @ positions
            else:
                rest = positions - self.directions @ (self.directions.T @ positions)
            return F.normalize(rest, dim=1, eps=1e-12).unflatten(2, features.shape[-2:])


# Outside of the modules, which can then be copied and pickled: for each backbone the weights that its bases belong to,
# and the bases by what else they depend on.
_BASES: WeakKeyDictionary = WeakKeyDictionary()


def kept_basis(backbone: nn.Module, key: tuple, compute: Callable[[], PositionBasis]) -> PositionBasis:
    """Return the basis of a backbone, computed once and again when weights of the backbone have changed.

    A copy of the backbone with shared weights shares the basis.

    Args:
        backbone (nn.Module): The backbone, compiled or not.
        key (tuple): What else the basis depends on: the size of the images, the options of the reader.
        compute (Callable): Computes it.
    """
    owner = backbone._modules.get('_orig_mod', backbone)
    with lock_of(backbone):
        weights = weights_state(owner)
        if owner not in _BASES or _BASES[owner][0] != weights:
            shared = [bases for known, bases in list(_BASES.values()) if known == weights]
            _BASES[owner] = weights, shared[0] if shared else {}
        bases = _BASES[owner][1]
        if key not in bases:
            bases[key] = compute()
        return bases[key]


def weights_state(module: nn.Module) -> tuple:
    """Identify the present weights and statistics: PyTorch counts the changes of every tensor in place."""
    return tuple((x.data_ptr(), x.device, x.dtype, 0 if x.is_inference() else x._version)
                 for x in (*module.parameters(), *module.buffers()))


def _grid(features: Tensor) -> str:
    return ' x '.join(map(str, features.shape[-2:]))

"""How near a cell is to a prototype, and how alike that makes them (ScaleProtoSeg, Porta et al., WACV 2025)."""
from typing import Any, Optional, Sequence

import torch
from torch import Tensor, nn

from mmfss.utils.checkpoint import CheckpointError, get_state_dict, load_from_local
from .precision import full_precision


def squared_distances(features: Tensor, prototypes: Tensor) -> Tensor:
    r"""Compute the squared Euclidean distance of every cell to every prototype, in float32.

    :math:`\|z - p\|^2 = \|z\|^2 - 2 z p + \|p\|^2`, as one matrix product of vectors with two more entries,
    :math:`(-2p, 1, \|p\|^2) \cdot (z, \|z\|^2, 1)`: no other map than the result is ever held. Rounding may leave up to
    2e-5 (64 channels in the unit cube) where the distance is zero; what falls below zero is zero.

    Args:
        features (Tensor): Features z of one scale, shape (B, D, h, w).
        prototypes (Tensor): Prototypes p of that scale, shape (P, D).

    Returns:
        Tensor: Shape (B, P, h, w), 0 or more.
    """
    with full_precision(features.device):
        cells, vectors = features.float().flatten(2), prototypes.float()
        cells = torch.cat((cells, cells.square().sum(1, keepdim=True), torch.ones_like(cells[:, :1])), dim=1)
        norms = vectors.square().sum(1, keepdim=True)
        vectors = torch.cat((-2 * vectors, torch.ones_like(norms), norms), dim=1)
        product = torch.bmm(vectors.expand(len(cells), -1, -1), cells)
    return product.relu_().unflatten(2, features.shape[-2:])


class _LogSimilarity(torch.autograd.Function):
    """Compute log((d + 1) / (d + eps)), keeping only d for the backward pass."""

    @staticmethod
    def forward(ctx: Any, distances: Tensor, epsilon: float) -> Tensor:
        ctx.save_for_backward(distances)
        ctx.epsilon = epsilon
        return (distances + 1).div_(distances + epsilon).log_()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        distances, = ctx.saved_tensors
        return grad * (ctx.epsilon - 1) / ((distances + 1) * (distances + ctx.epsilon)), None


def log_similarity(distances: Tensor, epsilon: float = 1e-4) -> Tensor:
    """Compute the similarity of a distance, log((d + 1) / (d + epsilon)), from log(1 / epsilon) at d = 0 down to 0.

    Args:
        distances (Tensor): Squared distances of any shape, 0 or more.
        epsilon (float): Keeps a hit finite: 9.21 for 1e-4.

    Returns:
        Tensor: The same shape.
    """
    return _LogSimilarity.apply(distances, epsilon)


def joined_similarities(distances: Sequence[Tensor], epsilon: float = 1e-4) -> Tensor:
    """Concatenate the similarities of S tensors (B, P_s, h, w) of squared distances to (B, P, h, w)."""
    return torch.cat([log_similarity(scale, epsilon) for scale in distances], dim=1)


def prototype_table(proto_class: Tensor, proto_scale: Tensor, num_classes: int, num_scales: int) -> Tensor:
    """Locate the prototypes of each class and scale among the prototypes of their scale.

    Args:
        proto_class (Tensor): 0-based class of each prototype, shape (P,), int64.
        proto_scale (Tensor): Its scale, shape (P,), ascending.
        num_classes (int): C.
        num_scales (int): S.

    Returns:
        Tensor: Places counted from the first prototype of the scale, -1 where a class has fewer than others, shape
        (S, C, M), int64; M is the largest number of prototypes that a class has at a scale, at least 1.
    """
    pair = proto_scale * num_classes + proto_class
    counts = torch.bincount(pair, minlength=num_scales * num_classes)
    table = proto_class.new_full((num_scales * num_classes, max(1, int(counts.max()) if len(pair) else 1)), -1)
    first = torch.cumsum(torch.bincount(proto_scale, minlength=num_scales), 0) - torch.bincount(
        proto_scale, minlength=num_scales)
    order = torch.argsort(pair, stable=True)
    slot = torch.arange(len(pair), device=pair.device) - (torch.cumsum(counts, 0) - counts)[pair[order]]
    table[pair[order], slot] = (order - first[proto_scale[order]]).to(table)
    return table.view(num_scales, num_classes, -1)


def class_table(proto_class: Tensor, num_classes: int) -> Tensor:
    """List the indices of the prototypes of each class in ascending order, -1 where a class has fewer than others.

    Args:
        proto_class (Tensor): 0-based class of each prototype, shape (P,), int64.
        num_classes (int): C.

    Returns:
        Tensor: Shape (C, n), int64, with n the largest number of prototypes of a class, at least 1.
    """
    return prototype_table(proto_class, torch.zeros_like(proto_class), num_classes, 1)[0]


def downsample_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Sample labels at the cells of a coarser grid: cell i of n takes the pixel floor((i + 1/2) N / n).

    Integer arithmetic, so no cell depends on rounding. Classes are learned on the grid: labels come down to the
    logits, logits do not go up to the labels.

    Args:
        labels (Tensor): Shape (B, H, W), any integer type.
        size (Sequence[int]): (h, w).

    Returns:
        Tensor: Shape (B, h, w), the same type.
    """
    rows, cols = ((2 * torch.arange(n, device=labels.device) + 1) * total // (2 * n)
                  for n, total in zip(size, labels.shape[-2:]))
    return labels[..., rows[:, None], cols]


class ConcatenatedASPP(nn.ModuleList):
    """Apply one dilated 3 x 3 convolution per scale and concatenate the results (DeepLabv2's branches are summed).

    Args:
        in_channels (int): Channels of the backbone's map.
        channels (int): Channels of each scale, D.
        dilations (Sequence[int]): Dilation of each scale, from the smallest receptive field.
    """

    def __init__(self, in_channels: int, channels: int, dilations: Sequence[int]) -> None:
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation) for dilation in dilations)
        for conv in self:
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, S * D, h, w): channels s D to (s + 1) D - 1 belong to scale s."""
        return torch.cat([conv(x) for conv in self], dim=1)


class LastLayer(nn.Module):
    """Hold the weights of the last layer, without bias; their number is set later.

    Args:
        num_classes (int): C.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes, 0))

    def extra_repr(self) -> str:
        return 'classes={}, inputs={}'.format(*self.weight.shape)


def matmul_maps(weight: Tensor, maps: Tensor) -> Tensor:
    """Combine maps linearly in float32: (O, I) and (B, I, h, w) to (B, O, h, w)."""
    with full_precision(maps.device):
        return torch.matmul(weight.float(), maps.float().flatten(2)).unflatten(2, maps.shape[-2:])


def read_layout(path: str) -> tuple[Tensor, Tensor]:
    """Read classes and scales of the prototypes in a checkpoint file, from whatever module has them."""
    layout = find_layout(path)
    if layout is None:
        raise CheckpointError(f'The checkpoint "{path}" (layout_from) holds no prototypes: no module has proto_class '
                              'and proto_scale.')
    return layout


def find_layout(path: str) -> Optional[tuple[Tensor, Tensor]]:
    """Return classes and scales of the prototypes in a checkpoint file; None if it holds none."""
    state_dict = get_state_dict(load_from_local(path, map_location='cpu'))
    for name, classes in state_dict.items():
        module, _, leaf = name.rpartition('proto_class')
        if not leaf and module[-1:] in ('', '.') and f'{module}proto_scale' in state_dict:
            return classes, state_dict[f'{module}proto_scale']
    return None

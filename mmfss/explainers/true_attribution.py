"""Exact contributions of support cells, of heads that know them: the reference for all other explainers."""
from typing import Literal

import torch
from torch import Tensor

from mmfss.models import AdditiveHead, BaseFewShotSegmentor
from mmfss.models.layers import resize_unaligned
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from .base import Explainer
from .scaling import get_scaling


@EXPLAINERS.register_module(name='true_attribution')
class TrueAttribution(Explainer):
    """Attribute a region to the support cells exactly, on a head whose class maps are sums over them.

    The maps of a class are averaged, see :meth:`PrototypeMatchingHead.true_attribution`, and resized bilinearly to the
    support's pixels. It needs an :class:`AdditiveHead`.

    Args:
        kind (str): ``'readout'``: what each cell adds; ``'removal'``: what its removal changes. Defaults to
            ``'readout'``.
        scaling (str, optional): Defaults to ``'min_max'``; None gives parts of the mean logit of the region for each
            cell.

    Raises:
        ValueError: If the kind is unknown.
    """

    own_copy = False

    def __init__(self, kind: Literal['readout', 'removal'] = 'readout', scaling: str | None = 'min_max') -> None:
        if kind not in ('readout', 'removal'):
            raise ValueError(f"true_attribution: kind must be 'readout' or 'removal', got {kind!r}.")
        self.kind = kind
        self.scaling = get_scaling(scaling)

    def _attribute(self, model: BaseFewShotSegmentor, episode: Episode, region: Tensor) -> Tensor:
        cells = true_cell_attribution(model, episode, region, self.kind)
        return self.scaling(resize_unaligned(cells, episode.support_size))


@torch.no_grad()
def true_cell_attribution(model: BaseFewShotSegmentor, episode: Episode, region: Tensor,
                          kind: Literal['readout', 'removal']) -> Tensor:
    """Compute the exact contribution of every support cell to the mean foreground map of a region.

    Args:
        model (BaseFewShotSegmentor): A model with an :class:`AdditiveHead`, in eval mode.
        episode (Episode): N ways, K shots.
        region (Tensor): What is explained of each class, boolean, shape (N, h, w), none empty.
        kind (str): ``'readout'`` or ``'removal'``.

    Returns:
        Tensor: Shape (N, K, h', w') on the finest compared grid. A cell of a coarser layer is spread over the cells
        that it covers.

    Raises:
        ValueError: If the head has no exact attributions.
    """
    head = getattr(model, 'head', model)
    if not isinstance(head, AdditiveHead):
        raise ValueError(f'a {type(head).__name__} does not know the exact contributions of support cells, as a '
                         'PrototypeMatchingHead (configs/prototype) does.')
    pyramid, encoding = model.encode(episode.query[None], episode.support[None], episode.masks[None])
    return torch.cat([
        _on_finest_grid([parts[:, 1].mean(1) for parts in head.true_attribution(pyramid, way, pixels[None], kind)])
        for way, pixels in zip(encoding.ways, region)
    ])


def _on_finest_grid(layers: list[Tensor]) -> Tensor:
    """Add the maps (1, K, h, w) of several layers, each keeping about its sum."""
    finest = layers[0].shape[-2:]
    return sum(resize_unaligned(x, finest) * (x.shape[-2:].numel() / finest.numel()) for x in layers)

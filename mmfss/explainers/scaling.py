"""Scale attributions to 0..1, over all the shots of a class together.

The scalings of the published comparison (AffEx reference implementation, `min_max` and `scale q`). They differ from it
where it returns NaN: a constant map becomes zero.
"""
from typing import Callable, Optional

import torch
from torch import Tensor


def min_max(attribution: Tensor) -> Tensor:
    """Map the least value of a class to 0 and the largest to 1.

    Args:
        attribution (Tensor): Shape (N, K, H, W), or any (N, ...).

    Returns:
        Tensor: Same shape, in [0, 1]; zero for a class whose values are all equal.
    """
    low, high = torch.aminmax(attribution.flatten(1), dim=1)
    return _rescale(attribution, low, high)


def scale_q(attribution: Tensor, q: float = 0.99) -> Tensor:
    """Map the least value of a class to 0 and its quantile ``q`` to 1; what lies above is clamped to 1.

    Keeps a few extreme pixels from making all others look alike.

    Args:
        attribution (Tensor): Shape (N, K, H, W), or any (N, ...).
        q (float): Quantile, in (0, 1].

    Returns:
        Tensor: Same shape, in [0, 1]; zero for a class whose values are all equal, and as :func:`min_max` for one
        whose quantile equals its least value.
    """
    values = attribution.flatten(1)
    low, high = torch.aminmax(values, dim=1)
    top = quantile(values, q)
    return _rescale(attribution, low, torch.where(top > low, top, high)).clamp(max=1)


def quantile(values: Tensor, q: float) -> Tensor:
    """Compute the interpolated quantile of each row, for any length (``torch.quantile`` takes up to 2**24 values).

    Args:
        values (Tensor): Shape (N, P).
        q (float): In [0, 1].

    Returns:
        Tensor: Shape (N,).
    """
    position = q * (values.shape[1] - 1)
    below = int(position)
    low = values.kthvalue(below + 1, dim=1).values
    if position == below:
        return low
    return torch.lerp(low, values.kthvalue(below + 2, dim=1).values, position - below)


def _rescale(attribution: Tensor, low: Tensor, high: Tensor) -> Tensor:
    shape = (-1, ) + (1, ) * (attribution.ndim - 1)
    extent = high - low
    extent = torch.where(extent > 0, extent, torch.ones_like(extent))
    return (attribution - low.view(shape)) / extent.view(shape)


SCALINGS: dict[str, Callable[[Tensor], Tensor]] = dict(min_max=min_max, scale_q=scale_q)


def get_scaling(name: Optional[str]) -> Callable[[Tensor], Tensor]:
    """Return a scaling by its name; None leaves the values as they are.

    Raises:
        ValueError: If there is none of that name.
    """
    if name is None:
        return lambda attribution: attribution
    if name not in SCALINGS:
        raise ValueError(f'Unknown scaling "{name}": give one of {", ".join(SCALINGS)}, or None for raw values.')
    return SCALINGS[name]

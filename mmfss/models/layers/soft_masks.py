"""Decision on soft masks that a generative model draws as white on black."""
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LOGIT_SCALE = 8.
"""Logit of a white pixel. A power of two, so that scaling changes no decision."""


@dataclass(frozen=True)
class MaskDecision:
    """Decide which pixels of a drawn mask are foreground: those brighter than a relative or an absolute threshold.

    The brightness of a pixel is the mean over its channels, 0 black to 1 white. The logits are the threshold
    (background) and the brightness (foreground), times 8: foreground wins where the brightness is strictly larger.
    Clipping and truncation pass gradients on unchanged, so that explainers see saturated pixels too.

    Args:
        mode (str): ``'relative'``: ``value`` is a part of the largest brightness in the picture; ``'absolute'``: it is
            the brightness itself.
        value (float): The threshold, in (0, 1). Published: relative, 0.25.
        maximum (str): The largest brightness of a picture: ``'mean'``, of the means over channels, as in the paper; or
            ``'channels'``, the largest value of any channel, as in the released code.
        truncate (bool): Round brightness down to the 256 levels of a picture file first, as the released code does.

    Raises:
        ValueError: If an option is unknown or the threshold out of range.

    Example:
        >>> import torch
        >>> from mmfss.models.layers.soft_masks import MaskDecision
        >>> drawn = torch.tensor([-1., -0.6, 1.]).expand(1, 3, 1, 3)  # three pixels, -1 black to 1 white
        >>> logits = MaskDecision(mode='relative', value=0.25)(drawn)
        >>> logits.argmax(1).tolist()
        [[[0, 0, 1]]]
    """
    mode: str = 'relative'
    value: float = 0.25
    maximum: str = 'mean'
    truncate: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ('relative', 'absolute') or self.maximum not in ('mean', 'channels'):
            raise ValueError('The decision on a drawn mask has the modes "relative" and "absolute" and the maxima '
                             f'"mean" and "channels", got {self.mode!r} and {self.maximum!r}.')
        if not 0 < self.value < 1:
            raise ValueError(f'The threshold of a drawn mask must be between 0 and 1, got {self.value}.')

    def __call__(self, drawn: Tensor) -> Tensor:
        """Compute logits (B, 2, H, W) of pictures (B, 3, H, W) with values -1 (black) to 1 (white)."""
        return self.logits((_Clipped.apply(drawn) * 0.5 + 0.5) * 255)

    def logits(self, picture: Tensor) -> Tensor:
        """Compute logits (B, 2, H, W) of pictures (B, 3, H, W) with values 0 to 255."""
        levels = _Truncated.apply(picture) if self.truncate else picture
        channels = levels / 255
        brightness = channels.mean(1)
        if self.mode == 'relative':
            largest = (channels if self.maximum == 'channels' else brightness).flatten(1).amax(1)
            threshold = (self.value * largest)[:, None, None].expand_as(brightness)
        else:
            threshold = torch.full_like(brightness, self.value)
        return LOGIT_SCALE * torch.stack((threshold, brightness), dim=1)


class _Clipped(torch.autograd.Function):
    """Clip to [-1, 1]; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Truncated(torch.autograd.Function):
    """Clip to [0, 255] and round down; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(0, 255).floor()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient

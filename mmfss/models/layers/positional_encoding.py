"""Sinusoidal position codes."""
import math

import torch
from torch import Tensor, nn


def sinusoidal_encoding(length: int, channels: int) -> Tensor:
    """Compute sine and cosine of the position at geometrically spaced frequencies (Vaswani et al. 2017, section 3.5).

    Computed in float32 like the reference: its rounding at high positions is part of published models.

    Args:
        length (int): Number of positions.
        channels (int): Even number of channels.

    Returns:
        Tensor: Shape (length, channels), values in [-1, 1].
    """
    position = torch.arange(length, dtype=torch.float32).unsqueeze(1)
    frequency = torch.exp(torch.arange(0, channels, 2, dtype=torch.float32) * -(math.log(10000.0) / channels))
    angle = position * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


class RasterPositionEncoding(nn.Module):
    """Add to each token the code of its raster index in its own map (row * w + column), a 1-D code.

    The table is no weight, and no buffer either, since it grows on demand: a copy of the model whose buffers are kept
    in step (a moving average) need not have seen maps of the same size.

    Args:
        channels (int): Channels of a token, C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.table = torch.empty(0, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add the codes to tokens of shape (..., L, C)."""
        length, table = tokens.shape[-2], self.table
        # Maps of convolutions hold a channel's positions together. A table of another layout makes the sum slow.
        by_channel = tokens.stride(-1) != 1
        if length > len(table) or tokens.device != table.device or by_channel != (table.stride(-1) != 1):
            table = sinusoidal_encoding(length, self.channels).to(tokens.device)
            # Another thread may store a shorter one meanwhile: only the own table is used.
            table = self.table = table.t().contiguous().t() if by_channel else table
        return tokens + table[:length]

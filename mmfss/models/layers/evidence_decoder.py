"""A small decoder of evidence maps."""
import torch
from torch import Tensor, nn

NORM_GROUPS = 4


class EvidenceDecoder(nn.Sequential):
    """Correct a map by the neighborhood of each position in several maps.

    Three 3 x 3 convolutions, the second dilated, with group norm, and a last one that is zero in the beginning:
    training starts from maps that are not corrected. A norm sees the whole image, so that evidence which is weak
    everywhere counts by comparison.

    Args:
        in_channels (int): Number of maps, C.
        hidden_channels (int): Width, a multiple of 4.

    Raises:
        ValueError: If ``hidden_channels`` is not a multiple of 4.
    """

    def __init__(self, in_channels: int, hidden_channels: int) -> None:
        if hidden_channels % NORM_GROUPS:
            raise ValueError(f'hidden_channels must be a multiple of {NORM_GROUPS}, got {hidden_channels}.')
        layers: list[nn.Module] = []
        for c_in, dilation in ((in_channels, 1), (hidden_channels, 2), (hidden_channels, 1)):
            layers += [
                nn.Conv2d(c_in, hidden_channels, 3, padding=dilation, dilation=dilation),
                nn.GroupNorm(NORM_GROUPS, hidden_channels),
                nn.ReLU()
            ]
        super().__init__(*layers, nn.Conv2d(hidden_channels, 1, 3, padding=1))
        nn.init.zeros_(self[-1].weight)
        nn.init.zeros_(self[-1].bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Decode (B, C, h, w) to (B, h, w), at least float32."""
        correction = super().forward(maps)[:, 0]
        return correction.to(torch.promote_types(correction.dtype, torch.float32))

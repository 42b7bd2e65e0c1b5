"""The U-Net of the ScaleProtoSeg models for electron microscopy."""
from typing import Any

from mmseg.models.backbones import UNet
from torch import Tensor, nn

from mmfss.registry import MODELS


@MODELS.register_module()
class DeconvUNet(UNet):
    """MMSegmentation's U-Net of five stages, enlarging by bare transposed convolutions and ending in a 1x1 convolution.

    ``UNet`` follows a transposed convolution by normalization and ReLU, and has no last convolution. Here a transposed
    convolution, kernel and stride 2 with bias, halves the channels and nothing follows it; a 1x1 convolution with bias
    maps the output of full resolution to as many channels.

    Args:
        base_channels (int): Channels at full resolution; each of the four poolings doubles them.
        **kwargs: ``in_channels``, ``norm_cfg``, ``norm_eval``, ``with_cp`` and ``init_cfg`` of ``UNet``.
    """

    def __init__(self, base_channels: int = 64, **kwargs: Any) -> None:
        # Without upsample_cfg, what is replaced below is a small convolution.
        super().__init__(base_channels=base_channels, upsample_cfg=None, **kwargs)
        for level, block in enumerate(self.decoder):
            channels = base_channels * 2**level
            block.upsample = nn.ConvTranspose2d(2 * channels, channels, kernel_size=2, stride=2)
        self.project = nn.Conv2d(base_channels, base_channels, kernel_size=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the maps of the decoder.

        Args:
            x (Tensor): Images, shape (B, 3, H, W); H and W are multiples of 16.

        Returns:
            list[Tensor]: Five maps, from (B, 16 * base_channels, H / 16, W / 16) to (B, base_channels, H, W).
        """
        *coarse, finest = super().forward(x)
        return [*coarse, self.project(finest)]

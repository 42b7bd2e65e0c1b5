"""Decoder of a U-Net that mirrors its encoder."""
from typing import Optional, Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmfss.registry import MODELS


@MODELS.register_module()
class MirrorUNetHead(BaseModule):
    """Decode the maps of all levels, from the coarsest to the pixels: a baseline with as many layers as the encoder.

    Each level enlarges what is below it to its own size, concatenates its map, and convolves (3 x 3, batch norm, ReLU)
    as often as the encoder's level has blocks, to as many channels.

    Args:
        in_channels (Sequence[int]): Channels of the levels, from the finest to the coarsest.
        depths (Sequence[int]): Blocks of the levels; those of the coarsest one are not mirrored.
        num_classes (int): K.
        norm_cfg (dict, optional): Normalization; batch norm by default.
    """

    def __init__(self, in_channels: Sequence[int], depths: Sequence[int], num_classes: int,
                 norm_cfg: Optional[dict] = None) -> None:
        super().__init__()
        if len(in_channels) != len(depths):
            raise ValueError(f'in_channels and depths must have one entry per level, got {in_channels} and {depths}.')
        self.num_classes = num_classes
        norm_cfg = norm_cfg or dict(type='BN')
        self.levels = nn.ModuleList()
        for level in range(len(in_channels) - 1):
            width, below = in_channels[level], in_channels[level + 1]
            self.levels.append(nn.Sequential(*(
                ConvModule(width + below if block == 0 else width, width, 3, padding=1, norm_cfg=norm_cfg)
                for block in range(depths[level]))))
        self.last = ConvModule(in_channels[0], in_channels[0], 3, padding=1, norm_cfg=norm_cfg)
        self.classifier = nn.Conv2d(in_channels[0], num_classes, 1)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Decode.

        Args:
            features (Sequence[Tensor]): Maps (N, C, h, w), from the finest to the coarsest.
            size (Sequence[int]): Size (H, W) of the image.

        Returns:
            Tensor: Logits, shape (N, K, H, W).
        """
        x = features[-1]
        for own, convs in zip(reversed(features[:-1]), reversed(self.levels)):
            x = convs(torch.cat((own, _enlarged(x, own.shape[2:])), dim=1))
        return self.classifier(self.last(_enlarged(x, size)))


def _enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=False)

"""The ResNet of DeepLabv2."""
from typing import Any

from mmseg.models.backbones import ResNet

from mmfss.registry import MODELS


@MODELS.register_module()
class DeepLabResNet(ResNet):
    """MMSegmentation's ResNet, with a max-pooling that keeps the last row and column of maps of even size.

    A 512 x 512 image then has a 65 x 65 grid at stride 8, as in DeepLabv2, not 64 x 64.

    Args:
        **kwargs: See MMSegmentation's ``ResNet``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.maxpool.ceil_mode = True

"""Readers that wrap another reader."""
import copy
from typing import Optional

from torch import Tensor, nn

from mmfss.registry import MODELS
from ..layers import resize_unaligned
from .pyramid import FeaturePyramid
from .reader import FeatureReader, build_feature_reader


class WrappedFeatures(FeatureReader):
    """Base class of readers that change what another reader is given or returns.

    Args:
        reader (dict, optional): Config of the other reader. By default it is chosen by the backbone's class.
    """

    def __init__(self, reader: Optional[dict] = None) -> None:
        super().__init__(num_levels=1)
        self.reader_cfg = dict(reader or {})
        self._reader: Optional[FeatureReader] = None

    def reader(self, backbone: nn.Module) -> FeatureReader:
        """Return the other reader."""
        if self._reader is None:
            self._reader = build_feature_reader(self.reader_cfg, backbone)
        return self._reader

    def fixed_for(self, backbone: nn.Module, image: Tensor) -> FeatureReader:
        fixed = copy.copy(self)
        fixed._reader = self.reader(backbone).fixed_for(backbone, image)
        return fixed

    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        return self.reader(backbone).blocks(backbone)

    def block_channels(self, block: nn.Module) -> int:
        return self._reader.block_channels(block)

    def channels(self, backbone: nn.Module) -> tuple[tuple[int, ...], ...]:
        return self.reader(backbone).channels(backbone)


@MODELS.register_module()
class ResizedFeatures(WrappedFeatures):
    """Read the features of images that are resized first, as for an encoder that works at one size only.

    Args:
        size (tuple[int, int]): Size (H, W) in pixels, bilinear with corners not aligned.
        reader (dict, optional): Config of the reader. By default it is chosen by the backbone's class.
        antialias (bool): Whether shrinking averages pixels. Defaults to True.
    """

    def __init__(self, size: tuple[int, int], reader: Optional[dict] = None, antialias: bool = True) -> None:
        super().__init__(reader)
        self.size = tuple(size)
        self.antialias = antialias

    def fixed_for(self, backbone: nn.Module, image: Tensor) -> FeatureReader:
        return super().fixed_for(backbone, resize_unaligned(image[None], self.size, self.antialias)[0])

    def __call__(self, backbone: nn.Module, images: Tensor) -> FeaturePyramid:
        return self.reader(backbone)(backbone, resize_unaligned(images, self.size, self.antialias))

"""Readers of transformer backbones."""
from typing import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.registry import MODELS
from .pyramid import FeaturePyramid
from .reader import FeatureReader

DEFAULT_SCALES = (4, 2, 1, 0.5)


def tokens_to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Turn raster-ordered tokens (B, h*w, C) into a map (B, C, h, w)."""
    return tokens.transpose(1, 2).unflatten(2, size)


def consecutive_groups(blocks: Sequence[nn.Module], count: int) -> list[list[nn.Module]]:
    """Cut blocks into ``count`` groups of consecutive depth, of about equal size; empty ones are left out."""
    bounds = [len(blocks) * i // count for i in range(count + 1)]
    return [list(blocks[a:b]) for a, b in zip(bounds, bounds[1:]) if b > a]


def scaled(feature: Tensor, scale: float) -> Tensor:
    """Resize a map (B, C, h, w) to ``scale`` times its size (bilinear), at least 1 x 1."""
    size = tuple(max(1, round(side * scale)) for side in feature.shape[-2:])
    if size == tuple(feature.shape[-2:]):
        return feature
    return F.interpolate(feature, size, mode='bilinear', align_corners=False)


@MODELS.register_module()
class SwinFeatures(FeatureReader):
    """Read every Swin block's output before patch merging, without norm, one level per stage."""

    families = ('SwinTransformer', 'SwinTransformerV2')

    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        return [list(stage.blocks) for stage in backbone.stages]

    def block_channels(self, block: nn.Module) -> int:
        return block.norm1.normalized_shape[0]

    def listen(self, block: nn.Module, captured: list[Tensor]) -> object:
        # A block is called with (tokens, (h, w)).
        return block.register_forward_hook(
            lambda module, args, output: captured.append(tokens_to_map(output, tuple(args[1]))))


@MODELS.register_module()
class ViTFeatures(FeatureReader):
    """Read every block of a plain vision transformer as a pyramid.

    The blocks are cut into ``len(scales)`` groups of consecutive depth; the patch tokens of group i are resized
    (bilinear) to ``scales[i]`` times the patch grid, since heads combine levels of several resolutions. Class and
    register tokens are dropped, the final norm is not used.

    Args:
        scales (Sequence[float]): Resolution of each level relative to the patch grid, fine to coarse. Defaults to
            (4, 2, 1, 0.5), with patch 14 strides of 3.5, 7, 14 and 28.
        indices (Sequence[int], optional): Blocks to read, see :class:`FeatureReader`. Defaults to all.
    """

    families = ('VisionTransformer', 'ViTEVA02', 'DistilledVisionTransformer')

    def __init__(self, scales: Sequence[float] = DEFAULT_SCALES, indices: Sequence[int] | None = None) -> None:
        super().__init__(len(scales), indices)
        self.scales = tuple(scales)

    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        return [list(backbone.layers)]

    def chosen_blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        blocks, = super().chosen_blocks(backbone)
        return consecutive_groups(blocks, len(self.scales))

    def block_channels(self, block: nn.Module) -> int:
        return block.ln1.normalized_shape[0]

    def __call__(self, backbone: nn.Module, images: Tensor) -> FeaturePyramid:
        grid: list[tuple[int, int]] = []
        with self.listening(backbone) as captured:
            handle = backbone.patch_embed.register_forward_hook(
                lambda module, args, output: grid.append(tuple(output[1])))
            try:
                backbone(images)
            finally:
                handle.remove()
        # From tokens to maps
        size = grid[0]
        return FeaturePyramid(
            tuple(
                tuple(scaled(tokens_to_map(tokens[:, -size[0] * size[1]:], size), scale) for tokens in level)
                for level, scale in zip(captured, self.scales)))

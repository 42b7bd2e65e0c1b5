"""A reader of any timm model that offers intermediate features."""
from typing import Any, Sequence

from torch import Tensor, nn

from mmfss.registry import MODELS
from .locks import lock_of
from .pyramid import FeaturePyramid
from .reader import FeatureReader
from .transformers import DEFAULT_SCALES, consecutive_groups, scaled


@MODELS.register_module()
class TIMMFeatures(FeatureReader):
    """Read a timm model through its method ``forward_intermediates`` (:class:`TIMMVisionTransformer`, TIMMBackbone).

    Transformers of one resolution (DINOv3, DINOv2 with registers) give the output of every block, without class and
    register tokens; they are cut into a pyramid as by :class:`ViTFeatures`. Other networks give the maps that timm's
    ``feature_info`` lists, one level per stride. Blocks after the last one read are not computed.

    Args:
        scales (Sequence[float], optional): For transformers: resolution of each level relative to the patch grid, fine
            to coarse. Defaults to (4, 2, 1, 0.5). ``[1]`` with ``indices=[-1]`` reads the last block alone.
        indices (Sequence[int], optional): Blocks (or maps) to read, see :class:`FeatureReader`. Defaults to all.
        norm (bool): Apply the network's final norm to what is read. Defaults to False.
        num_levels (int, optional): For networks of several strides: see :class:`FeatureReader`.

    Raises:
        ValueError: When it reads, if there are fewer blocks than scales, or the network has several strides and
            ``scales`` are given.
        TypeError: When it reads, if the network offers no intermediate features.
    """

    families = ('TIMMBackbone', )

    def __init__(self,
                 scales: Sequence[float] | None = None,
                 indices: Sequence[int] | None = None,
                 norm: bool = False,
                 num_levels: int | None = None) -> None:
        super().__init__(num_levels, indices)
        self.scales = None if scales is None else tuple(scales)
        self.norm = norm

    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        levels: dict[int, list[nn.Module]] = {}
        for info in _feature_info(backbone):
            levels.setdefault(info['reduction'], []).append(backbone.timm_model.get_submodule(info['module']))
        return list(levels.values())

    def block_channels(self, block: nn.Module) -> int:
        raise TypeError('timm lists channels by number, not by module; use `channels`.')

    def taps(self, backbone: nn.Module) -> list[list[nn.Module]]:
        scales = self._scales(backbone)
        if scales is None:
            return super().taps(backbone)
        blocks, = self.chosen_blocks(backbone)
        if len(blocks) < len(scales):
            raise ValueError(f'TIMMFeatures cannot make a level of each of the scales {scales} out of {len(blocks)} '
                             'blocks: give as many `scales` as levels are wanted.')
        return consecutive_groups(blocks, len(scales))

    def channels(self, backbone: nn.Module) -> tuple[tuple[int, ...], ...]:
        info = _feature_info(backbone)
        return tuple(tuple(info[number]['num_chs'] for number in level) for level in self._numbers(backbone))

    def __call__(self, backbone: nn.Module, images: Tensor) -> FeaturePyramid:
        numbers = self._numbers(backbone)
        with lock_of(backbone):
            maps = iter(backbone.timm_model.forward_intermediates(
                images, indices=[number for level in numbers for number in level], norm=self.norm, stop_early=True,
                output_fmt='NCHW', intermediates_only=True))  # yapf: disable
        scales = self._scales(backbone) or [1] * len(numbers)
        return FeaturePyramid(
            tuple(tuple(scaled(next(maps), scale) for _ in level) for level, scale in zip(numbers, scales)))

    def _scales(self, backbone: nn.Module) -> tuple[float, ...] | None:
        """Return the scales of a network of one resolution, and None for others."""
        strides = {info['reduction'] for info in _feature_info(backbone)}
        if len(strides) == 1:
            return self.scales or DEFAULT_SCALES
        if self.scales is not None:
            raise ValueError(f'`scales` of TIMMFeatures are for networks of one resolution; '
                             f'{type(backbone.timm_model).__name__} has the strides {sorted(strides)}.')
        return None

    def _numbers(self, backbone: nn.Module) -> list[list[int]]:
        """List the numbers of the maps that are read, by level."""
        number = {block: i for i, block in enumerate(block for level in self.blocks(backbone) for block in level)}
        return [[number[block] for block in level] for level in self.taps(backbone)]


def _feature_info(backbone: nn.Module) -> list[dict[str, Any]]:
    model = backbone.timm_model
    if not hasattr(model, 'forward_intermediates'):
        raise TypeError(f'The timm model {type(model).__name__} offers no intermediate features: choose another, build '
                        "it without features_only, or name modules: features=dict(type='ModuleFeatures', ...).")
    return list(model.feature_info)

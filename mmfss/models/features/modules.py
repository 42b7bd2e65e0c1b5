"""A reader for backbones of no known family."""
from typing import Sequence

import torch
from torch import Tensor, nn

from mmfss.registry import MODELS
from .reader import FeatureReader


@MODELS.register_module()
class ModuleFeatures(FeatureReader):
    """Read the outputs of modules that the config names.

    Args:
        levels (Sequence[Sequence[str]]): Dotted module names, as in ``backbone.named_modules()``, of each level from
            fine to coarse. Each module must return a map (B, C, h, w).
        in_channels (Sequence[Sequence[int]], optional): Channels of each map. By default they are measured once, with a
            blank image.
        probe_size (int): Side of that blank image in pixels. Defaults to 224.
    """

    def __init__(self,
                 levels: Sequence[Sequence[str]],
                 in_channels: Sequence[Sequence[int]] | None = None,
                 probe_size: int = 224) -> None:
        super().__init__(num_levels=len(levels))
        self.levels = levels
        self.in_channels = in_channels
        self.probe_size = probe_size

    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        modules = dict(backbone.named_modules())
        for name in (name for level in self.levels for name in level):
            if name not in modules:
                raise ValueError(f'{type(backbone).__name__} has no module "{name}"; '
                                 f'it has: {", ".join(list(modules)[1:40])} ...')
        return [[modules[name] for name in level] for level in self.levels]

    def block_channels(self, block: nn.Module) -> int:
        raise TypeError('The channels of a named module are known only by running the backbone; use `channels`.')

    def channels(self, backbone: nn.Module) -> tuple[tuple[int, ...], ...]:
        if self.in_channels is None:
            training = backbone.training
            backbone.eval()
            with torch.no_grad():
                pyramid = self(backbone, torch.zeros(1, 3, self.probe_size, self.probe_size))
            backbone.train(training)
            self.in_channels = [[feature.shape[1] for feature in level] for level in pyramid]
        return tuple(tuple(level) for level in self.in_channels)

    def listen(self, block: nn.Module, captured: list[Tensor]) -> object:
        # A following in-place activation must not overwrite what was read.
        return block.register_forward_hook(lambda module, args, output: captured.append(output.clone()))

"""Read intermediate maps out of any backbone."""
from abc import ABCMeta, abstractmethod
from contextlib import ExitStack, contextmanager
from typing import Iterator, Optional, Sequence

from torch import Tensor, nn

from mmfss.registry import MODELS
from .locks import lock_of
from .pyramid import FeaturePyramid


class FeatureReader(metaclass=ABCMeta):
    """Capture the maps of a backbone's blocks with hooks that exist only during the forward pass.

    Several threads may read one backbone: its forward passes run one after the other, so that no thread collects the
    maps of another.

    A reader knows one family of backbones: which modules to listen to, and how to turn what they compute into maps
    (B, C, h, w). It holds no state of the backbone: the same reader serves any copy of it.

    Args:
        num_levels (int, optional): How many resolutions to read, counted from the coarsest. Defaults to 4, or with
            ``indices`` to all that have a chosen block.
        indices (Sequence[int], optional): Blocks to read, numbered from 0 in network order; negative numbers
            count from the end. ``[19]`` of an EfficientNet-Lite2 is its block 5.4. Defaults to every block.
    """

    families: tuple[str, ...] = ()
    """Class names of the backbones that this reader is chosen for when a config names none."""

    def __init__(self, num_levels: int | None = None, indices: Sequence[int] | None = None) -> None:
        if num_levels is None and indices is None:
            num_levels = 4
        if num_levels is not None and num_levels < 1:
            raise ValueError(f'num_levels must be at least 1, got {num_levels}.')
        self.num_levels = num_levels
        self.indices = None if indices is None else tuple(indices)

    @abstractmethod
    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        """List the modules to hook: levels from fine to coarse, in each its blocks in network order."""

    @abstractmethod
    def block_channels(self, block: nn.Module) -> int:
        """Return the number of channels of a block's map."""

    def listen(self, block: nn.Module, captured: list[Tensor]) -> object:
        """Hook a block so that its map is appended to ``captured``; returns the removable handle."""
        return block.register_forward_hook(lambda module, args, output: captured.append(output))

    def taps(self, backbone: nn.Module) -> list[list[nn.Module]]:
        """List the chosen blocks of the ``num_levels`` coarsest levels of :meth:`blocks`.

        Raises:
            ValueError: If the backbone has fewer levels, or no such block.
        """
        levels = self.chosen_blocks(backbone)
        if self.num_levels is None:
            return levels
        if len(levels) < self.num_levels:
            raise ValueError(
                f'{type(self).__name__} reads {self.num_levels} levels but {type(backbone).__name__} has only '
                f'{len(levels)}; give the backbone more stages, or the reader a smaller `num_levels`.')
        return levels[len(levels) - self.num_levels:]

    def chosen_blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        """List the blocks that ``indices`` choose, and the levels that have one.

        Raises:
            ValueError: If there is no such block.
        """
        levels = self.blocks(backbone)
        if self.indices is None:
            return levels
        count = sum(len(level) for level in levels)
        if not self.indices or any(not -count <= index < count for index in self.indices):
            raise ValueError(f'{type(backbone).__name__} has the blocks 0 to {count - 1} (or -{count} to -1); '
                             f'{type(self).__name__} got indices={list(self.indices)}.')
        wanted, numbers = {index % count for index in self.indices}, iter(range(count))
        kept = [[block for block in level if next(numbers) in wanted] for level in levels]
        return [level for level in kept if level]

    def channels(self, backbone: nn.Module) -> tuple[tuple[int, ...], ...]:
        """List the channels of every map that :meth:`__call__` returns, in the same order."""
        return tuple(tuple(self.block_channels(block) for block in level) for level in self.taps(backbone))

    @contextmanager
    def listening(self, backbone: nn.Module) -> Iterator[list[list[Tensor]]]:
        """Collect the maps of the forward passes inside the context; other threads wait to do so."""
        captured: list[list[Tensor]] = []
        with lock_of(backbone), ExitStack() as hooks:
            for level in self.taps(backbone):
                captured.append([])
                for block in level:
                    hooks.callback(self.listen(block, captured[-1]).remove)
            yield captured

    def fixed_for(self, backbone: nn.Module, image: Tensor) -> 'FeatureReader':
        """Return a reader of the same maps that keeps and looks up nothing, for export.

        Args:
            backbone (nn.Module): The backbone, whose weights must not change afterwards.
            image (Tensor): A normalized image of the size of all images to come, (3, H, W).
        """
        return self

    def __call__(self, backbone: nn.Module, images: Tensor) -> FeaturePyramid:
        """Run the backbone once.

        Args:
            backbone (nn.Module): A backbone of the reader's family.
            images (Tensor): Normalized images, shape (B, 3, H, W).

        Returns:
            FeaturePyramid: Its maps, before any down-sampling that follows a block.
        """
        with self.listening(backbone) as captured:
            backbone(images)
        return FeaturePyramid(tuple(tuple(level) for level in captured))


def build_feature_reader(cfg: Optional[dict], backbone: nn.Module) -> FeatureReader:
    """Build a reader from its config, or choose one by the backbone's class.

    Args:
        cfg (dict, optional): Config of the reader, without ``type`` if only its arguments matter.
        backbone (nn.Module): The backbone it will read.

    Raises:
        ValueError: If no reader knows the backbone.
    """
    cfg = dict(cfg or {})
    if 'type' not in cfg:
        readers = [r for r in MODELS.module_dict.values() if isinstance(r, type) and issubclass(r, FeatureReader)]
        names = [cls.__name__ for cls in type(backbone).__mro__]
        chosen = [reader.__name__ for name in names for reader in readers if name in reader.families]
        if not chosen:
            known = sorted(name for reader in readers for name in reader.families)
            raise ValueError(
                f'No feature reader knows the backbone {names[0]}. Known families: {", ".join(known)}. For another '
                "backbone name its modules: features=dict(type='ModuleFeatures', levels=[['stage1.0', ...], ...]).")
        cfg['type'] = chosen[0]
    return MODELS.build(cfg)

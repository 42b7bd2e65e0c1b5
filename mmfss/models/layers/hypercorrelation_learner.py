"""Decoder from a pyramid of correlations to logits (HSNet, sections 4.2 and 4.3)."""
from math import ceil, floor, log2
from typing import Callable, Optional, Sequence

from torch import Tensor, nn

from .center_pivot_conv4d import CenterPivotBlock
from .resizing import resize_aligned

KERNEL_SIZES = ((3, 3, 3), (5, 3, 3), (5, 5, 3))
SUPPORT_STRIDES = ((2, 2, 2), (4, 2, 2), (4, 4, 2))
"""Support strides of the squeezing blocks, from the coarsest level to the finest."""


class HypercorrelationLearner(nn.Module):
    """Squeeze the support's positions of every level, mix the levels, and decode.

    Letters: B correlations, L layers of a level, (h, w) query positions of a level, (h', w') support positions. Levels
    go from the coarsest to the finest.

    Args:
        num_layers (Sequence[int]): L of each of the three levels.
        support_strides (Sequence[Sequence[int]]): Support strides of the three convolutions that squeeze each level.
            The defaults fit levels whose sides differ by a factor of two.

    Raises:
        ValueError: If there are not three levels.
    """

    def __init__(self, num_layers: Sequence[int], support_strides: Sequence[Sequence[int]] = SUPPORT_STRIDES) -> None:
        super().__init__()
        if len(num_layers) != 3 or len(support_strides) != 3 or any(len(strides) != 3 for strides in support_strides):
            raise ValueError('A hypercorrelation pyramid has three levels, each squeezed by three convolutions; got '
                             f'levels of {list(num_layers)} layers and support strides {support_strides}.')
        self.support_strides = tuple(tuple(strides) for strides in support_strides)
        self.squeeze = nn.ModuleList(
            CenterPivotBlock((layers, 16, 64, 128), kernels, strides)
            for layers, kernels, strides in zip(num_layers, KERNEL_SIZES, self.support_strides))
        self.mix = nn.ModuleList(CenterPivotBlock((128, ) * 4, (3, 3, 3), (1, 1, 1)) for _ in range(2))
        self.decoder1 = nn.Sequential(
            nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(128, 64, 3, padding=1),
            nn.ReLU(inplace=True))
        self.decoder2 = nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(64, 2, 3, padding=1))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Compute the logits of a pyramid.

        Args:
            pyramid (Sequence[Tensor]): For each level (B, L, h, w, h', w').

        Returns:
            Tensor: Shape (B, 2, 2 h, 2 w), with (h, w) of the finest level.
        """
        return self.combine([squeeze(level) for squeeze, level in zip(self.squeeze, pyramid)])

    def combine(self, squeezed: Sequence[Tensor]) -> Tensor:
        """Combine squeezed levels into logits; levels (B, 128, h, w, h', w') have equal support positions."""
        coarse, middle, fine = squeezed
        mixed = self.mix[0](resize_query(coarse, middle.shape[2:4]) + middle)
        mixed = self.mix[1](resize_query(mixed, fine.shape[2:4]) + fine)
        x = self.decoder1(mixed.mean((-2, -1)))
        return self.decoder2(resize_aligned(x, [2 * side for side in x.shape[-2:]]))

    def squeezed_side(self, level: int, side: int) -> int:
        """Return the number of support positions that remain of ``side`` at a level."""
        for stride in self.support_strides[level]:
            side = ceil(side / stride)
        return side

    def check_support(self, sizes: Sequence[Sequence[int]], image_size: Sequence[int]) -> None:
        """Check that the levels can be mixed.

        Args:
            sizes (Sequence[Sequence[int]]): Support positions (h', w') of each level.
            image_size (Sequence[int]): Size (H, W) of the support images that gave them.

        Raises:
            ValueError: If the squeezed levels differ in support positions; it names the nearest image sizes that work.
        """
        for axis, name in enumerate(('height', 'width')):
            sides, image_side = [size[axis] for size in sizes], image_size[axis]
            if not self._fit(sides):
                squeezed = [self.squeezed_side(level, side) for level, side in enumerate(sides)]
                raise ValueError(
                    f'Supports of {name} {image_side} cannot be used: the {sides} support positions of the levels are '
                    f'squeezed to {squeezed}, which must be equal.{self._advice(sides, image_side)}')

    def _fit(self, sides: Sequence[int]) -> bool:
        return len({self.squeezed_side(level, side) for level, side in enumerate(sides)}) == 1

    def _advice(self, sides: Sequence[int], image_side: int) -> str:
        grids = infer_grids(sides, image_side)
        if grids is None:
            return ''
        around = (range(image_side - 1, 0, -1), range(image_side + 1, 3 * image_side))
        nearest = [next((str(side) for side in sides if all(grids(side)) and self._fit(grids(side))), None)
                   for sides in around]
        nearest = [side for side in nearest if side is not None]
        return f' The nearest that work: {" and ".join(nearest)} pixels.' if nearest else ''


def resize_query(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize the query's positions of (B, C, h, w, h', w'), each support position on its own."""
    if x.shape[2:4] == tuple(size):
        return x
    batch, _, _, _, rows, cols = x.shape
    x = resize_aligned(x.permute(0, 4, 5, 1, 2, 3).flatten(0, 2), size)
    return x.unflatten(0, (batch, rows, cols)).permute(0, 3, 4, 5, 1, 2)


def infer_grids(sides: Sequence[int], image_side: int) -> Optional[Callable[[int], list[int]]]:
    """Infer from one example how a backbone divides an image side into positions.

    Args:
        sides (Sequence[int]): Positions at each level.
        image_side (int): Pixels.

    Returns:
        Callable, optional: From an image side to the positions at each level, or None if the example is not a division
            by powers of two that rounds up (padded convolutions) or down (pooling).
    """
    strides = [2**round(log2(image_side / side)) for side in sides]
    for rounded in (ceil, floor):
        if [rounded(image_side / stride) for stride in strides] == list(sides):
            return lambda side, rounded=rounded: [rounded(side / stride) for stride in strides]
    return None

"""DeepGlobe land cover as a few-shot benchmark: 6 x 6 tiles, their selection and class masks.

The rules are those of the script released with DMTNet, with the colour of water corrected.
"""
from typing import Dict, Iterator, Mapping, NamedTuple, Tuple

import numpy as np

from mmfss.utils.defaults import DEEPGLOBE_VARIANTS

GRID = 6
MIN_SHARE = 0.048  # every colour of a tile covers more than this, unknown (black) included

Color = Tuple[int, int, int]

# RGB on disk, by the folder of the class.
COLORS: Mapping[int, Color] = {
    1: (255, 255, 0),
    2: (0, 255, 255),
    3: (255, 0, 255),
    4: (0, 255, 0),
    5: (0, 0, 255),
    6: (255, 255, 255)
}
# The released script writes its colours as BGR, but the one of water as RGB: no pixel has it.
VARIANTS: Mapping[str, Mapping[int, Color]] = dict(zip(DEEPGLOBE_VARIANTS, (COLORS, {**COLORS, 5: (255, 0, 0)})))
_KNOWN = ((0, 0, 0), *COLORS.values())


class MaskTile(NamedTuple):
    """Hold a selected tile.

    Attributes:
        suffix (str): Row and column, ``'00'`` .. ``'55'``.
        masks (dict[int, np.ndarray]): (h, w) bool of each class that it shows, by folder.
    """
    suffix: str
    masks: Dict[int, np.ndarray]


def tile_windows(height: int, width: int) -> Iterator[Tuple[str, slice, slice]]:
    """Yield suffix, rows and columns of the 36 tiles, row by row."""
    for i in range(GRID):
        for j in range(GRID):
            yield (f'{i}{j}', slice(int(i * height / GRID), int((i + 1) * height / GRID)),
                   slice(int(j * width / GRID), int((j + 1) * width / GRID)))


def mask_tiles(mask: np.ndarray, colors: Mapping[int, Color] = COLORS) -> Iterator[MaskTile]:
    """Cut a mask and keep the tiles of more than one colour in which every colour covers more than 4.8 %.

    Args:
        mask (np.ndarray): (H, W, 3) uint8 RGB, H and W at least 6.
        colors (Mapping[int, tuple[int, int, int]]): Colour of each class; other colours are no class, but count as
            colours.

    Yields:
        MaskTile: The tiles that count, row by row.
    """
    for suffix, rows, columns in tile_windows(*mask.shape[:2]):
        tile = _codes(mask[rows, columns])
        counts = _color_counts(tile)
        if len(counts) > 1 and min(counts.values()) / tile.size > MIN_SHARE:
            shown = {folder: _code(color) for folder, color in colors.items() if _code(color) in counts}
            yield MaskTile(suffix, {folder: tile == code for folder, code in shown.items()})


def _codes(mask: np.ndarray) -> np.ndarray:
    """Encode each colour as one number, (H, W) int32."""
    wide = mask.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _code(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _color_counts(tile: np.ndarray) -> Dict[int, int]:
    """Count the pixels of each colour present. Comparing with the seven known colours is faster than sorting."""
    counts = {code: int(np.count_nonzero(tile == code)) for code in map(_code, _KNOWN)}
    if sum(counts.values()) < tile.size:
        codes, numbers = np.unique(tile, return_counts=True)
        return dict(zip(codes.tolist(), numbers.tolist()))
    return {code: number for code, number in counts.items() if number}

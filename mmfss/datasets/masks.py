"""Reading of users' object masks, in any format, as colours, levels or numbers."""
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Sequence, Union

import cv2
import numpy as np
from PIL import Image

from mmfss.utils.warn_once import warn_once
from .images import decode, open_checked
from .orientation import check_tags, file_orientation, orientation_tag, stored_upright, turn_upright

IGNORE = 255

_LOSSY_FORMATS = ('JPEG', 'MPO', 'AVIF', 'JPEG2000', 'HEIF', 'JXL')
_LOSSY_COMPRESSIONS = ('jpeg', 'tiff_jpeg', 'webp')  # of TIFF files
_COLOUR_MODES = ('RGB', 'RGBA', 'RGBX', 'RGBa', 'L', '1', 'LA', 'La', 'PA', 'CMYK', 'YCbCr', 'HSV')
_CURE = 'Save it as a PNG with 0 for the background and 255 for the object.'


class _Stored(NamedTuple):
    """Hold the content of a mask file.

    Attributes:
        levels (np.ndarray): Brightness (H, W), unsigned; 0 where exactly black or transparent.
        numbers (Callable): Returns the numbers that an ignore value is compared with, (H, W).
        white (int, optional): The level of white; None if levels are numbers for certain.
    """
    levels: np.ndarray
    numbers: Callable[[], np.ndarray]
    white: Optional[int]


def read_object_mask(path: Union[str, Path],
                     ignore_value: Optional[int] = None,
                     upright: Optional[bool] = None,
                     image: Optional[Union[str, Path]] = None,
                     max_pixels: Optional[int] = None) -> np.ndarray:
    """Read the mask of one object: what is exactly black or transparent is background, everything else the object.

    Colours decide, not the order of a palette. Files of class numbers (0 and 1, label maps, instance numbers) follow
    the same rule, as 0 is black. Lossy formats, and masks that were compressed or smoothed before, are cut at half of
    white. docs/en/masks.md has a table of all formats.

    .. code-block:: python

        mask = read_object_mask('mug_mask.png', image='mug.jpg')
        image[mask == 1].mean(0)                                # of an image of the same size

    Args:
        path (str | Path): The mask file, in any format that Pillow reads.
        ignore_value (int, optional): Number of pixels that are neither object nor background: a grey level, an index
            of a coloured palette, or a number that is in one channel or in all. With it, a file of a lossless format is
            taken for one of numbers and never cut at half.
        upright (bool, optional): False keeps the mask as it is stored. Else it is turned by its own EXIF orientation;
            True also means that masks without one were drawn on the upright picture, see :func:`check_tags`.
        image (str | Path, optional): Picture that the mask belongs to, to compare their orientations.
        max_pixels (int, optional): Largest number of pixels, see :func:`size_limit`.

    Returns:
        np.ndarray: (H, W) uint8; 1 object, 0 background, 255 ignored.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be decoded, can be understood in two ways, or its orientation contradicts that
            of the picture.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from mmfss.datasets.masks import read_object_mask
        >>> picture = Image.new('RGB', (4, 2))  # black is background
        >>> picture.putpixel((3, 0), (200, 30, 30))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     picture.save(f'{folder}/mask.png')
        ...     mask = read_object_mask(f'{folder}/mask.png')
        >>> mask.tolist()
        [[0, 0, 0, 1], [0, 0, 0, 0]]
    """
    content, picture = open_checked(path, max_pixels)
    with picture:
        # Read
        tag = orientation_tag(picture, content, path)
        lossy = _is_lossy(picture, content)
        deep = _is_deep_colour(picture, content)
        turned = upright is not False and (deep or not stored_upright(picture))
        stored = _read_deep(content, path) if deep else _read(picture, path)
        if lossy and ignore_value is not None:
            raise ValueError(f'The mask {path} is a lossy {picture.format}, which keeps no exact numbers, so that '
                             f'ignore_value={ignore_value} finds nothing. Save masks with ignored pixels as PNG.')
        # Object, ignored pixels
        mask = _cut(stored, path, lossy, ignore_value).view(np.uint8)
        if ignore_value is not None:
            mask[stored.numbers() == ignore_value] = IGNORE
    if image is not None:
        check_tags(file_orientation(image), tag, mask.shape[0] == mask.shape[1], upright,
                   f'The image {image}', f'the mask {path}')
    return turn_upright(mask, tag) if turned else mask


def _read(picture: Image.Image, path: Union[str, Path]) -> _Stored:
    """Read a file of any format but 16-bit colour."""
    if _has_several_pictures(picture):
        raise ValueError(f'The mask {path} holds {picture.n_frames} pictures of one size, so that it is not clear '
                         f'which is the mask. {_CURE}')
    transparent = picture.info.get('transparency')
    # Grey levels, class numbers or colours, by the mode of the picture
    if picture.mode == 'P':
        return _read_palette(picture, path)
    if picture.mode in ('L', '1') and transparent is None:
        levels = decode(picture, path).astype(np.uint8, copy=False)
        return _Stored(levels, lambda: levels, 255)
    if picture.mode.startswith('I'):
        numbers = decode(picture, path)
        if isinstance(transparent, int):
            numbers = np.where(numbers == transparent, 0, numbers)
        return _whole_numbers(numbers, path)
    if picture.mode == 'F':
        return _read_float(decode(picture, path), path)
    if picture.mode not in _COLOUR_MODES:
        raise ValueError(f'The mask {path} is a picture of mode {picture.mode}, which has no stated meaning. {_CURE}')
    alpha = transparent is not None or picture.mode[-1] in 'aA'
    return _read_colours(cv2.split(decode(picture, path, 'RGBA' if alpha else 'RGB')), path)


def _has_several_pictures(picture: Image.Image) -> bool:
    """Whether the second picture of a file is no preview, but as large as the first."""
    try:
        if picture.format == 'MPO' or getattr(picture, 'n_frames', 1) < 2:
            return False
        size = picture.size
        picture.seek(1)
        same = picture.size == size
        picture.seek(0)
        return same
    except Exception:  # A damaged file: decoding it says so.
        return False


def _whole_numbers(numbers: np.ndarray, path: Union[str, Path]) -> _Stored:
    """Read numbers of more than 8 bits; 65535 is white if it is the largest."""
    if numbers.min() < 0:
        raise ValueError(f'The mask {path} holds negative numbers (down to {numbers.min()}), so that it is not clear '
                         f'what is background. {_CURE}')
    return _Stored(numbers, lambda: numbers, 65535 if numbers.max() <= 65535 else None)


def _read_float(values: np.ndarray, path: Union[str, Path]) -> _Stored:
    """Read whole numbers, or probabilities; 0.5 and more are object."""
    if np.isfinite(values).all() and (values == np.round(values)).all():
        return _whole_numbers(values.astype(np.int64), path)
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f'The mask {path} holds fractions that are not probabilities (0 to 1). {_CURE}')
    levels = (values >= 0.5).astype(np.uint8)
    return _Stored(levels, lambda: values, None)


def _read_palette(picture: Image.Image, path: Union[str, Path]) -> _Stored:
    """Read the colours of an indexed picture; indices beyond the palette are black."""
    indices = decode(picture, path)
    flat = picture.getpalette('RGB') or []
    colours = np.zeros((256, 3), np.uint8)
    colours[:len(flat) // 3] = np.reshape(flat, (-1, 3))
    alpha, transparent = np.full(256, 255), picture.info.get('transparency')
    if isinstance(transparent, bytes):
        alpha[:len(transparent)] = np.frombuffer(transparent, np.uint8)
    elif transparent is not None:
        alpha[transparent] = 0
    used = np.array(picture.histogram()) > 0
    levels = _visible(colours.max(1), alpha)
    black = np.flatnonzero(used & (alpha > 0) & (levels == 0))
    if len(black) > 1 and len(black) == used.sum():  # The palette says nothing: the numbers are all there is.
        return _Stored(indices, lambda: indices, 255)
    if len(black) > 1:
        raise ValueError(f'The mask {path} has the palette entries {", ".join(map(str, black))} in black: as colours '
                         f'they are all background, as numbers only 0 is. {_CURE}')
    if used[0] and levels[0] > 0 and (levels[used] > 0).all():
        raise ValueError(f'The mask {path} has no black or transparent pixel, and its palette entry 0 is '
                         f'{tuple(colours[0].tolist())}: as colours everything is object, as numbers 0 is background. '
                         f'{_CURE}')
    _require_visible(levels[used], alpha[used], path)
    grey = (colours == colours[:, :1]).all()
    numbers = np.where(alpha == 0, 0, colours[:, 0] if grey else np.arange(256))
    return _Stored(cv2.LUT(indices, levels), lambda: numbers[indices], 255 if grey else None)


def _read_colours(channels: Sequence[np.ndarray], path: Union[str, Path]) -> _Stored:
    """Take the brightest of the three channels of a colour picture, reduced by transparency (fourth channel)."""
    first, second, third, *alpha = channels
    white = np.iinfo(first.dtype).max
    levels = brightest = cv2.max(cv2.max(first, second), third)
    if alpha:
        levels = _visible(brightest, alpha[0], white)
        _require_visible(levels, alpha[0], path)

    def numbers() -> np.ndarray:
        """Return the number in all channels if they are equal, or in the only channel that is not empty; else -1."""
        single = sum(bool(channel.any()) for channel in (first, second, third)) < 2
        found = brightest if single else np.where((first == second) & (second == third), first.astype(int), -1)
        return np.where(alpha[0] == 0, 0, found) if alpha else found

    return _Stored(levels, numbers, white)


def _is_deep_colour(picture: Image.Image, content: bytes) -> bool:
    """Check whether a colour picture has 16 bits per channel; Pillow would cut off the lower 8."""
    if picture.format == 'PNG':
        return content[24] == 16 and content[25] in (2, 4, 6)
    bits = picture.tag_v2.get(258, ()) if picture.format == 'TIFF' else ()
    return isinstance(bits, tuple) and len(bits) > 2 and max(bits) == 16


def _read_deep(content: bytes, path: Union[str, Path]) -> _Stored:
    channels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if channels is None or channels.ndim != 3 or channels.shape[2] not in (3, 4):
        raise ValueError(f'The mask {path} is corrupt, or of an unknown kind of 16 bits per channel. {_CURE}')
    return _read_colours(cv2.split(channels), path)


def _visible(levels: np.ndarray, alpha: np.ndarray, white: int = 255) -> np.ndarray:
    """Blend levels with a black ground, rounded up: 0 only where black or transparent."""
    product = levels.astype(np.uint32) * alpha.astype(np.uint32)
    return (product // white + (product % white > 0)).astype(levels.dtype)


def _require_visible(levels: np.ndarray, alpha: np.ndarray, path: Union[str, Path]) -> None:
    if not levels.any() and (alpha > 0).any() and (alpha == 0).any():
        raise ValueError(f'The mask {path} is black on a transparent ground: both are background. Paint the object in '
                         f'another colour. {_CURE}')


def _cut(stored: _Stored, path: Union[str, Path], lossy: bool, ignore_value: Optional[int]) -> np.ndarray:
    """Locate the object, bool (H, W)."""
    levels, half = stored.levels, None if stored.white is None else (stored.white + 1) // 2
    highest = levels.max()
    if half is None or highest == 0:
        return levels != 0
    # Lossy compression: half white divides object and background
    if lossy:
        if highest < half:
            raise ValueError(f'The mask {path} is a lossy picture whose brightest pixel has the level {highest} of '
                             f'{stored.white}: class numbers do not outlive lossy compression. {_CURE}')
        _require_two_sides(_counts(levels, stored.white), path)
        return levels >= half
    # Exact levels: all but black is object, unless edges are soft
    drawn = levels != 0
    if highest < half or ignore_value is not None or np.array_equal(drawn, levels == stored.white):
        return drawn
    if not _is_soft(levels, stored.white, path):
        return drawn
    warn_once('soft mask', f'The mask {path} has grey levels between black and white, of compression or of soft edges: '
              'what is at least half white is object. Later masks of this kind are not mentioned.')
    return levels >= half


def _counts(levels: np.ndarray, white: int) -> np.ndarray:
    """Count the pixels of each level, on a scale of 256."""
    return np.bincount((levels if white == 255 else levels >> 8).ravel().astype(np.uint8), minlength=256)


def _is_soft(levels: np.ndarray, white: int, path: Union[str, Path]) -> bool:
    """Check whether levels between black and white come from compression or soft edges, not numbers or colours.

    Numbers and colours fill areas: at least half of the pixels between black and white lie in a square of 2 x 2 equal
    ones. Levels along edges and the noise of a JPEG do not. The noise of other codecs does, but is mostly within 16
    levels of black and white, on both sides.

    Raises:
        ValueError: If neither is likely.
    """
    counts = _counts(levels, white)
    between = (levels > 0) & (levels < white)
    if not counts[128:255].any() or np.count_nonzero(counts[1:255]) < 2:
        return False
    middle = counts[16:240].sum()
    both_sides = counts[1:16].any() and counts[240:255].any() and middle < between.sum() / 2
    if not both_sides and _flat_share(levels, between) >= 0.5:
        return False
    _require_two_sides(counts, path)
    if counts[240:].sum() < middle / 10:
        raise ValueError(f'The mask {path} has many grey levels, but hardly a white pixel: it is neither black and '
                         f'white nor a map of class numbers in areas. {_CURE}')
    return True


def _flat_share(levels: np.ndarray, among: np.ndarray) -> float:
    """Compute the share of some pixels that lie in a square of 2 x 2 equal ones."""
    equal = levels[:, 1:] == levels[:, :-1]
    squares = equal[1:] & equal[:-1] & (levels[1:, 1:] == levels[:-1, 1:])
    flat = np.zeros(levels.shape, bool)
    for rows in (slice(1, None), slice(-1)):
        for columns in (slice(1, None), slice(-1)):
            flat[rows, columns] |= squares
    return float(flat[among].mean())


def _require_two_sides(counts: np.ndarray, path: Union[str, Path]) -> None:
    if counts[64:192].sum() > counts.sum() / 2:
        raise ValueError(f'The mask {path} is mostly grey, like a photograph: at least half of a mask is nearly black '
                         f'or nearly white. Were image and mask exchanged? {_CURE}')


def _is_lossy(picture: Image.Image, content: bytes) -> bool:
    """Check by the content of a file whether it was compressed with loss."""
    if picture.format == 'WEBP':
        return _is_lossy_webp(content)
    return (picture.format in _LOSSY_FORMATS or picture.mode == 'YCbCr'
            or (picture.format == 'TIFF' and picture.info.get('compression') in _LOSSY_COMPRESSIONS))


def _is_lossy_webp(content: bytes) -> bool:
    """Check whether there is a chunk of VP8 rather than VP8L."""
    place = 12
    while place + 8 <= len(content):
        name, length = content[place:place + 4], int.from_bytes(content[place + 4:place + 8], 'little')
        if name == b'VP8 ':
            return True
        # A frame of an animation: its chunks come after 16 bytes.
        place += 24 if name == b'ANMF' else 8 + length + length % 2
    return False

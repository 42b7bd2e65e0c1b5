"""Reading images and masks with Pillow, within a size limit and with errors that name the file."""
import io
from pathlib import Path
from typing import Optional, Tuple, Union

import mmcv
import numpy as np
from PIL import Image, UnidentifiedImageError

# Pillow's own warning level. A picture of 10 kB may claim any size, so the header is checked before decoding.
MAX_PIXELS = 89_478_485

_DECODE_ERRORS = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def read_image(path: Union[str, Path], color_type: str = 'color_ignore_orientation') -> np.ndarray:
    """Read a picture as BGR; grey, palette and transparent ones are converted to three channels.

    Args:
        path (str | Path): The image file.
        color_type (str): ``'color_ignore_orientation'`` keeps the stored orientation, as the official benchmarks do;
            ``'color'`` applies the EXIF orientation, which suits photographs whose masks were drawn on the upright
            picture.

    Returns:
        np.ndarray: (H, W, 3) uint8, BGR.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be decoded, is larger than ``MAX_PIXELS`` or has grey levels of more than 8
            bits, which Pillow would cut off at 255: nearly all of the picture would be white.
    """
    content = checked_bytes(path)
    with Image.open(io.BytesIO(content)) as image:
        if image.mode.startswith(('I', 'F')):
            raise ValueError(f'The image {path} has grey levels of more than 8 bits (mode {image.mode}). Convert it to '
                             '8 bits, black and white being where they suit the data.')
    try:
        return mmcv.imfrombytes(content, flag=color_type, channel_order='bgr', backend='pillow')
    except _DECODE_ERRORS as error:
        raise ValueError(f'The image {path} is corrupt or incomplete: {error}') from error


def read_label_map(path: Union[str, Path], allow_color: bool = False, max_value: int = 255) -> np.ndarray:
    """Read a one-channel mask; a palette PNG gives its indices, not its colours.

    Args:
        path (str | Path): The mask file.
        allow_color (bool): Take the grey level of a colour picture, for masks drawn in white by a paint program; what
            is transparent is 0.
        max_value (int): Largest allowed value, 255 or 65535.

    Returns:
        np.ndarray: (H, W), the stored values; 0 and 1 for a 1-bit file. uint8, but uint16 for a file of more than 8
        bits if ``max_value`` is above 255.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be decoded, has several channels, or values above ``max_value``.
    """
    with Image.open(io.BytesIO(checked_bytes(path))) as image:
        if allow_color and image.mode in ('RGB', 'RGBA', 'LA'):
            grey = _decode(image, path, 'L')
            return np.where(_decode(image, path, 'A') == 0, 0, grey) if 'A' in image.mode else grey
        if image.mode not in ('L', 'P', '1', 'I', 'I;16'):
            raise ValueError(f'The mask {path} is a picture of mode {image.mode}; a mask has one channel that holds '
                             'class numbers (8-bit grey or palette).')
        array = _decode(image, path)
    if array.dtype in (np.uint8, bool):
        return array.astype(np.uint8)
    if array.min() < 0 or array.max() > max_value:
        raise ValueError(f'The mask {path} holds values outside 0..{max_value}.')
    return array.astype(np.uint8 if max_value <= 255 else np.uint16)


def read_grey(path: Union[str, Path]) -> np.ndarray:
    """Read any picture as grey levels.

    Args:
        path (str | Path): The image file.

    Returns:
        np.ndarray: (H, W) uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be decoded.
    """
    with Image.open(io.BytesIO(checked_bytes(path))) as image:
        return _decode(image, path, 'L')


def _decode(image: Image.Image, path: Union[str, Path], mode: Optional[str] = None) -> np.ndarray:
    """The pixels, converted to a mode, or of the alpha channel for mode ``'A'``."""
    try:
        if mode == 'A':
            image = image.getchannel(mode)
        return np.array(image if mode in (None, 'A') else image.convert(mode))
    except _DECODE_ERRORS as error:
        raise ValueError(f'The mask {path} is corrupt or incomplete: {error}') from error


def checked_bytes(path: Union[str, Path]) -> bytes:
    """Read a file and make sure its header is that of an image of reasonable size.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If Pillow cannot read it, or it is larger than ``MAX_PIXELS``; the file is named.
    """
    content = Path(path).read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
    except _DECODE_ERRORS as error:
        raise ValueError(f'The file {path} is not an image that Pillow can read: {error}') from error
    if width * height > MAX_PIXELS:
        raise ValueError(f'The image {path} has {width} x {height} pixels, more than the limit of {MAX_PIXELS}.')
    return content


def stored_size(path: Union[str, Path]) -> Optional[Tuple[int, int]]:
    """Size (H, W) in the header of an image, without decoding it; None for what is no image."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except _DECODE_ERRORS:
        return None

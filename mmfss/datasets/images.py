"""Reading images and masks with Pillow, within a size limit and with errors that name the file."""
import io
import os
from pathlib import Path
from typing import Optional, Tuple, Union

import mmcv
import numpy as np
from PIL import Image, UnidentifiedImageError

from .orientation import orientation_tag, stored_upright, turn_upright

# Pillow's own warning level. A picture of 10 kB may claim any size, so the header is checked before decoding.
MAX_PIXELS = 89_478_485
MAX_PIXELS_VARIABLE = 'MMFSS_MAX_PIXELS'


def read_image(path: Union[str, Path],
               color_type: str = 'color_ignore_orientation',
               max_pixels: Optional[int] = None) -> np.ndarray:
    """Read a picture as BGR; grey, palette and transparent ones are converted to three channels.

    Args:
        path (str | Path): The image file.
        color_type (str): ``'color_ignore_orientation'`` keeps the stored orientation, as the official benchmarks do;
            ``'color'`` applies the EXIF orientation, which suits photographs whose masks were drawn on the upright
            picture. EXIF data that cannot be read count as none, with one warning.
        max_pixels (int, optional): Largest number of pixels, see :func:`size_limit`.

    Returns:
        np.ndarray: (H, W, 3) uint8, BGR.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be decoded, is larger than the limit or has grey levels of more than 8 bits,
            which Pillow would cut off at 255: nearly all of the picture would be white.
    """
    return read_reduced_image(path, None, color_type, max_pixels)[0]


def read_reduced_image(path: Union[str, Path],
                       reduce_to: Optional[Tuple[int, int]],
                       color_type: str = 'color_ignore_orientation',
                       max_pixels: Optional[int] = None) -> Tuple[np.ndarray, Tuple[int, int]]:
    """Read a picture as :func:`read_image` does, a large JPEG file at a reduced size.

    Args:
        path (str | Path): The image file.
        reduce_to (tuple[int, int], optional): (width, height) that is enough: a larger JPEG file is decoded at a half,
            a quarter or an eighth of its size, the smallest that covers this one. None for the whole picture.
        color_type (str): See :func:`read_image`.
        max_pixels (int, optional): See :func:`read_image`.

    Returns:
        tuple[np.ndarray, tuple[int, int]]: (h, w, 3) uint8, BGR, and the size (H, W) of the whole picture.
    """
    content, image = open_checked(path, max_pixels)
    with image:
        if image.mode.startswith(('I', 'F')):
            raise ValueError(f'The image {path} has grey levels of more than 8 bits (mode {image.mode}). Convert it to '
                             '8 bits, black and white being where they suit the data.')
        turned = color_type == 'color' and not stored_upright(image)
        tag = orientation_tag(image, content, path) if turned else None
        is_jpeg, size = image.format in ('JPEG', 'MPO'), (image.height, image.width)
    is_sideways = (tag or 1) >= 5
    try:
        if reduce_to is not None and is_jpeg:
            array = _decode_reduced(content, reduce_to[::-1] if is_sideways else reduce_to)
        else:
            array = mmcv.imfrombytes(
                content, flag='color_ignore_orientation', channel_order='bgr', backend='pillow')
    except Exception as error:  # Whatever a damaged file makes of the decoder.
        raise ValueError(f'The image {path} is corrupt or incomplete: {error}') from error
    array = turn_upright(array, tag)
    if reduce_to is None or not is_jpeg:
        return array, array.shape[:2]
    return array, size[::-1] if is_sideways else size


def _decode_reduced(content: bytes, size: Tuple[int, int]) -> np.ndarray:
    """Decode a JPEG file at the smallest size of the decoder that covers (width, height); a BGR view."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft(None, size)
        return np.array(image if image.mode == 'RGB' else image.convert('RGB'))[..., ::-1]


def read_label_map(path: Union[str, Path], max_value: int = 255) -> np.ndarray:
    """Read a one-channel map of class numbers; a palette PNG gives its indices, not its colours.

    For a mask of one object, whatever its format, see :func:`mmfss.datasets.masks.read_object_mask`.

    Args:
        path (str | Path): The mask file.
        max_value (int): Largest allowed value, 255 or 65535.

    Returns:
        np.ndarray: (H, W), the stored values; 0 and 1 for a 1-bit file. uint8, but uint16 for a file of more than 8
        bits if ``max_value`` is above 255.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be decoded, has several channels, or values above ``max_value``.
    """
    _, image = open_checked(path)
    with image:
        if image.mode not in ('L', 'P', '1', 'I', 'I;16'):
            raise ValueError(f'The mask {path} is a picture of mode {image.mode}; a mask has one channel that holds '
                             'class numbers (8-bit grey or palette).')
        array = decode(image, path)
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
    _, image = open_checked(path)
    with image:
        return decode(image, path, 'L')


def decode(image: Image.Image, path: Union[str, Path], mode: Optional[str] = None) -> np.ndarray:
    """Decode the pixels of a mask, converted to a mode if one is given.

    Raises:
        ValueError: If the file is damaged; it is named.
    """
    try:
        return np.array(image if mode in (None, image.mode) else image.convert(mode))
    except Exception as error:  # Whatever a damaged file makes of the decoder.
        raise ValueError(f'The mask {path} is corrupt or incomplete: {error}') from error


def checked_bytes(path: Union[str, Path], max_pixels: Optional[int] = None) -> bytes:
    """Read a file, and check that its header is that of an image of allowed size; see :func:`open_checked`."""
    content, image = open_checked(path, max_pixels)
    image.close()
    return content


def open_checked(path: Union[str, Path], max_pixels: Optional[int] = None) -> tuple[bytes, Image.Image]:
    """Read a file and open it as an image of allowed size, without decoding it.

    Args:
        path (str | Path): The file.
        max_pixels (int, optional): Largest number of pixels, see :func:`size_limit`.

    Returns:
        tuple[bytes, Image]: Its bytes and the image, to be closed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If Pillow cannot read it, or it is larger than the limit; the file is named.
    """
    content = Path(path).read_bytes()
    limit = size_limit(max_pixels)
    try:
        image = Image.open(io.BytesIO(content))
    except Image.DecompressionBombError as error:
        raise ValueError(f'The image {path} is too large: {error} {_how_to_raise()}') from error
    except UnidentifiedImageError as error:
        reason = 'it is of no format that Pillow knows, or its header is damaged' if content else 'it is empty'
        raise ValueError(f'The file {path} is not an image that Pillow can read: {reason}.') from error
    except Exception as error:  # Whatever a damaged header makes of the reader.
        raise ValueError(f'The file {path} is not an image that Pillow can read: {error}') from error
    width, height = image.size
    if width * height > limit:
        image.close()
        raise ValueError(f'The image {path} has {width} x {height} pixels, more than the limit of {limit}. '
                         f'{_how_to_raise()}')
    return content, image


def stored_size(path: Union[str, Path]) -> Optional[Tuple[int, int]]:
    """Read the size (H, W) in the header of an image, without decoding it; None if it is not an image."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception:  # Whatever a damaged header makes of the reader.
        return None


def size_limit(max_pixels: Optional[int] = None) -> int:
    """Return the largest allowed number of pixels: the argument, else ``MMFSS_MAX_PIXELS``, else 89 million.

    Pillow's own limit is raised with it; it is never lowered.

    Args:
        max_pixels (int, optional): The limit; by default that of the environment variable ``MMFSS_MAX_PIXELS``, which
            worker processes see too.

    Raises:
        ValueError: If the limit is not a positive whole number.
    """
    stated = os.environ.get(MAX_PIXELS_VARIABLE) if max_pixels is None else max_pixels
    if stated is None:
        return MAX_PIXELS
    if not str(stated).isdecimal() or int(stated) < 1:
        name = MAX_PIXELS_VARIABLE if max_pixels is None else 'max_pixels'
        raise ValueError(f'{name} must be a whole number of pixels above 0, got {stated!r}.')
    limit = int(stated)
    if Image.MAX_IMAGE_PIXELS is not None and Image.MAX_IMAGE_PIXELS < limit:
        Image.MAX_IMAGE_PIXELS = limit
    return limit


def _how_to_raise() -> str:
    return (f'If the file is to be trusted, raise the limit: max_pixels=..., --max-pixels, or the environment variable '
            f'{MAX_PIXELS_VARIABLE}.')

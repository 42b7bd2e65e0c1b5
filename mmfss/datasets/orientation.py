"""Orientation of pictures: reading, applying and comparing EXIF orientation tags."""
import io
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from PIL import ExifTags, Image

from mmfss.utils.warn_once import warn_once

# What a picture with the tag looks like as it is stored, compared with the upright one.
MEANING = {
    1: 'upright', 2: 'mirrored', 3: 'turned by 180 degrees', 4: 'mirrored and turned by 180 degrees',
    5: 'mirrored and turned by 90 degrees', 6: 'turned by 90 degrees', 7: 'mirrored and turned by 270 degrees',
    8: 'turned by 270 degrees'
}

# A PNG holds the tag in one of these chunks; looking for it otherwise means to decode the picture.
_PNG_MARKS = (b'eXIf', b'Raw profile type', b'XML:com.adobe.xmp')


def orientation_tag(image: Image.Image, content: bytes, path: Union[str, Path]) -> Optional[int]:
    """Read the orientation tag of a picture. EXIF data that cannot be read count as none, with a warning.

    Args:
        image (Image): The opened picture.
        content (bytes): The bytes of the file.
        path (str | Path): The file, for the warning.

    Returns:
        int, optional: 1 to 8; None without a valid tag.
    """
    if image.format == 'PNG' and not any(mark in content for mark in _PNG_MARKS):
        return None
    try:
        tag = image.getexif().get(ExifTags.Base.Orientation)
        return int(tag) if tag in MEANING else None
    except Exception as error:  # Whatever damaged EXIF data make of the reader: the picture is still good.
        warn_once('exif', f'The EXIF data of {path} cannot be read ({type(error).__name__}: {error}): the picture is '
                  'used as it is stored. Later pictures of this kind are not mentioned.')
        return None


def file_orientation(path: Union[str, Path]) -> Optional[int]:
    """Read the orientation tag of a picture file; see :func:`orientation_tag`.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    content = Path(path).read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            return orientation_tag(image, content, path)
    except Exception:  # Not a picture: who reads it says so.
        return None


def turn_upright(array: np.ndarray, tag: Optional[int]) -> np.ndarray:
    """Turn a picture as its orientation tag says.

    Args:
        array (np.ndarray): Shape (H, W) or (H, W, C), as stored.
        tag (int, optional): The tag, 1 to 8, or None.

    Returns:
        np.ndarray: Shape (H, W, ...) or (W, H, ...), contiguous.
    """
    if tag in (None, 1):
        return array
    if tag >= 5:
        array = array.swapaxes(0, 1)
    rows, columns = (tag in (3, 4, 7, 8)), (tag in (2, 3, 6, 7))
    return np.ascontiguousarray(array[::-1 if rows else 1, ::-1 if columns else 1])


def stored_upright(image: Image.Image) -> bool:
    """Whether Pillow itself turns pictures of this format when it decodes them."""
    return image.format == 'TIFF'


def check_tags(image: Optional[int], mask: Optional[int], square: bool, upright: Optional[bool],
               image_name: Any, mask_name: Any) -> None:
    """Check that a picture and its mask have one orientation, as far as tags tell it.

    Pictures and masks are turned by their own tags (unless ``upright`` is False). A mask without a tag was drawn either
    on the upright picture or on the picture as it is stored. Where these differ in size, the size tells which; else
    only the user knows.

    Args:
        image (int, optional): Orientation tag of the picture.
        mask (int, optional): Orientation tag of the mask.
        square (bool): Whether the mask is square, so that its size does not tell whether it was turned.
        upright (bool, optional): What the user says: masks without a tag were drawn on the upright picture (True) or on
            the picture as it is stored (False); None if nothing is said.
        image_name (Any): The picture, for the message.
        mask_name (Any): The mask, for the message.

    Raises:
        ValueError: If the tags differ and the sizes do not tell which is right, or the tags contradict
            ``upright=False``.
    """
    if (image or 1) == (mask or 1):
        return
    if image is not None and mask is not None:
        if upright is False:
            raise ValueError(f'{image_name} is stored {MEANING[image]}, {mask_name} {MEANING[mask]}, as their EXIF '
                             'orientations say: as stored they do not fit. Use upright=True, which turns both.')
        return
    tag, tagged, other = (mask, mask_name, image_name) if image is None else (image, image_name, mask_name)
    if upright is not None or (tag >= 5 and not square):
        return
    raise ValueError(
        f'{tagged} has the EXIF orientation {tag} (stored {MEANING[tag]}), {other} has none, and their sizes do not '
        'tell whether the mask was drawn on the upright picture. Say so: upright=True (masks are drawn on the picture '
        'as programs show it; --upright) or upright=False (on the picture as it is stored; --no-upright).')


def loads_upright(dataset: Any) -> bool:
    """Whether the pipeline of a dataset turns pictures as their EXIF orientation says.

    Args:
        dataset (Dataset): A dataset with a ``pipeline`` whose first step loads images, by MMCV's ``LoadImageFromFile``
            or the like.
    """
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    return any(getattr(step, 'color_type', None) == 'color' for step in steps)

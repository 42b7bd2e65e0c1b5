"""Pictures and masks that arrive as bytes, from people one does not know: bounded, upright, with errors in words."""
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, TypeVar

import cv2
import numpy as np

from mmfss.datasets.annotations import is_annotation_file, read_annotated_mask
from mmfss.datasets.images import open_checked, read_image
from mmfss.datasets.masks import read_object_mask

T = TypeVar('T')


@dataclass(frozen=True)
class UploadLimits:
    """Bound what is accepted.

    Attributes:
        megabytes (float): Largest file.
        megapixels (float): Largest picture, by its header: it is refused before it is decoded.
        side (int): Larger pictures, and their masks, are reduced to this longer side.
    """
    megabytes: float = 20.
    megapixels: float = 50.
    side: int = 1280


LIMITS = UploadLimits()


def read_picture(content: bytes, name: str, limits: UploadLimits = LIMITS) -> np.ndarray:
    """Decode a picture, upright as its EXIF orientation says.

    Args:
        content (bytes): The file.
        name (str): Its name, for errors.
        limits (UploadLimits): What is accepted.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB, at most ``limits.side`` wide and high.

    Raises:
        ValueError: If it is too large or no picture, in a sentence that names it.
    """
    def read(path: Path) -> np.ndarray:
        return read_image(path, 'color', _max_pixels(limits))[..., ::-1]

    picture = _from_file(content, name, read, limits)
    return _resized(picture, reduced_size(picture.shape[:2], limits), cv2.INTER_AREA)


def read_mask_of(content: bytes, name: str, picture: bytes, limits: UploadLimits = LIMITS) -> np.ndarray:
    """Decode the mask of a picture: a picture file in which black is background, or a LabelMe, COCO or YOLO file.

    Args:
        content (bytes): The file.
        name (str): Its name, which tells its format and is named by errors.
        picture (bytes): The file of the picture that it belongs to; the mask was drawn on the upright picture.
        limits (UploadLimits): What is accepted.

    Returns:
        np.ndarray: (H, W) uint8, of the size that :func:`read_picture` gives the picture; 1 object, 0 background, 255
        ignored.

    Raises:
        ValueError: If it is no mask, of another size than the picture, or empty; in a sentence that names it.
    """
    size = upright_size(picture, 'the picture', limits)

    def read(path: Path) -> np.ndarray:
        if is_annotation_file(path):
            return read_annotated_mask(path, None, size, None)
        return read_object_mask(path, upright=True, max_pixels=_max_pixels(limits))

    mask = _from_file(content, name, read, limits)
    if mask.shape != size:
        raise ValueError(f'The mask {name} has {mask.shape[1]} x {mask.shape[0]} pixels, but its picture has {size[1]} '
                         f'x {size[0]}: they must be equal.')
    if not (mask == 1).any():
        raise ValueError(f'The mask {name} is empty: it has no pixel of the object.')
    reduced = _resized(mask, reduced_size(size, limits), cv2.INTER_NEAREST)
    if not (reduced == 1).any():
        raise ValueError(f'The object in {name} is so small that nothing of it is left when the picture is reduced.')
    return reduced


def upright_size(content: bytes, name: str, limits: UploadLimits = LIMITS) -> tuple[int, int]:
    """Read the size (H, W) of an upright picture from its header, with the errors of :func:`read_picture`."""
    def read(path: Path) -> tuple[int, int]:
        _, image = open_checked(path, _max_pixels(limits))
        with image:
            turned = image.getexif().get(0x0112, 1) >= 5
            return image.size if turned else image.size[::-1]

    return _from_file(content, name, read, limits)


def reduced_size(size: tuple[int, int], limits: UploadLimits = LIMITS) -> tuple[int, int]:
    """Return the size (H, W) that a picture of a size has after :func:`read_picture`."""
    scale = min(1., limits.side / max(size))
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def _from_file(content: bytes, name: str, read: Callable[[Path], T], limits: UploadLimits) -> T:
    """Read bytes through a temporary file, which is removed; errors name the upload instead."""
    if len(content) > 1e6 * limits.megabytes:
        raise ValueError(f'{name} has {len(content) / 1e6:.1f} MB, more than the limit of {limits.megabytes:g} MB.')
    with tempfile.TemporaryDirectory(prefix='mmfss-') as folder:
        path = Path(folder) / f'upload{re.sub(r"[^.a-zA-Z0-9]", "", Path(name).suffix)[:10]}'
        path.write_bytes(content)
        try:
            return read(path)
        except (ValueError, OSError) as error:
            raise ValueError(_sentence(str(error).replace(str(path), name), limits)) from error


def _sentence(message: str, limits: UploadLimits) -> str:
    """Leave out how to raise a limit, which a visitor of a page cannot do."""
    message = message.partition(' If the file is to be trusted')[0]
    return message.replace(f'the limit of {_max_pixels(limits)}', f'the limit of {limits.megapixels:g} million')


def _max_pixels(limits: UploadLimits) -> int:
    return round(1e6 * limits.megapixels)


def _resized(array: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    array = np.ascontiguousarray(array)
    return array if array.shape[:2] == size else cv2.resize(array, size[::-1], interpolation=interpolation)



"""Pictures, maps and outlines as data of a web page."""
import base64
import io
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

import cv2
import numpy as np
from PIL import Image, features

from mmfss.datasets.images import read_image

PICTURE_SIDE = 384
MAP_SIDE = 192

_FORMAT = 'webp' if features.check('webp') else 'jpeg'


def read_picture(info: Mapping[str, Any], path: Optional[str]) -> Optional[np.ndarray]:
    """Load a picture (H, W, 3) RGB as the run did, or return None if its file is unknown or missing.

    Args:
        info (Mapping[str, Any]): ``upright`` says whether pictures were turned by their EXIF orientation.
        path (str, optional): The file.
    """
    if path is None or not Path(path).is_file():
        return None
    image = read_image(path, 'color' if info.get('upright') else 'color_ignore_orientation')
    return np.ascontiguousarray(image[..., ::-1])


def view_size(shape: Sequence[int]) -> list[int]:
    """Return width and height of the coordinates of outlines."""
    scale = PICTURE_SIDE / max(shape)
    return [max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))]


def picture_entry(image: Optional[np.ndarray], view: Sequence[int]) -> dict[str, Any]:
    """Return source and proportions of a picture; without one, those of the outlines."""
    if image is None:
        return dict(src=None, width=view[0], height=view[1])
    small = shrink(image, PICTURE_SIDE)
    return dict(src=data_uri(small, quality=78), width=image.shape[1], height=image.shape[0])


def shrink(array: np.ndarray, side: int) -> np.ndarray:
    """Shrink a picture or map so that its longer side is at most ``side`` pixels."""
    height, width = array.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return array
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA)


def encode_map(heat: np.ndarray) -> str:
    """Encode a heat map with display values in [0, 1], shape (H, W), as a grey picture in a data URI."""
    return data_uri((255 * shrink(heat, MAP_SIDE)).round().astype(np.uint8), quality=60)


def data_uri(image: np.ndarray, quality: int) -> str:
    """Encode a uint8 image, grey (H, W) or RGB (H, W, 3), as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, _FORMAT, quality=quality)
    return f'data:image/{_FORMAT};base64,{base64.b64encode(buffer.getvalue()).decode()}'


def outline(mask: np.ndarray, view: Sequence[int]) -> str:
    """Trace the outline of a mask as an SVG path, holes included (to be filled by the even-odd rule).

    Args:
        mask (np.ndarray): Boolean, shape (H, W).
        view (Sequence[int]): Width and height of the coordinates, stretched over the mask.

    Returns:
        str: The path; empty for an empty mask.
    """
    shrunk = mask.shape[1] > view[0]
    cover = cv2.resize(mask.astype(np.float32), tuple(view),
                       interpolation=cv2.INTER_AREA if shrunk else cv2.INTER_LINEAR)
    # A thin object covers no pixel of a smaller picture by half.
    inside = (cover > (0.25 if shrunk else 0.5)).astype(np.uint8)
    lines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = []
    for line in lines:
        points = cv2.approxPolyDP(line, 0.8, closed=True)[:, 0]
        steps = np.diff(points, axis=0).ravel().tolist()
        parts.append(f'M{points[0, 0]} {points[0, 1]}' + (f'l{" ".join(map(str, steps))}' if steps else '') + 'z')
    return ''.join(parts)


def round_numbers(value: Any, digits: int = 4) -> Any:
    """Round the numbers of a tree to significant digits, for a smaller page."""
    if isinstance(value, Mapping):
        return {str(key): round_numbers(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [round_numbers(item, digits) for item in value]
    if isinstance(value, float):
        return float(f'{value:.{digits}g}') if np.isfinite(value) else None
    return value

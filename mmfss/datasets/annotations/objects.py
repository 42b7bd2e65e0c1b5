"""Objects that an annotation file draws in one picture."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from pycocotools import mask as coco_mask

from mmfss.utils.names import few, normal_name
from ..class_indices.coco_shapes import encode_shape, shape_fault
from ..masks import IGNORE

ANNOTATION_SUFFIXES = ('.json', '.txt')


def is_annotation_file(path: Any) -> bool:
    """Check whether a mask is given as an annotation file rather than as a picture or an array."""
    return isinstance(path, (str, Path)) and Path(path).suffix.lower() in ANNOTATION_SUFFIXES


class UnknownClassError(ValueError):
    """A picture has no object of a class.

    Args:
        message (str): The message.
        known (Sequence[str]): The classes of its objects.
    """

    def __init__(self, message: str, known: Sequence[str]) -> None:
        super().__init__(message)
        self.known = tuple(known)


@dataclass(frozen=True)
class PictureObjects:
    """Hold the annotated objects of one picture.

    Attributes:
        file (str): The annotation file, for messages.
        size (tuple[int, int]): Height and width of the picture, pixels, as the file knows them.
        labels (tuple[str, ...]): Class name of each object.
        codes (tuple[dict, ...]): Run-length code of each object.
        ignored (tuple[dict, ...]): Run-length codes of regions that count neither as object nor as background.
    """
    file: str
    size: Tuple[int, int]
    labels: Tuple[str, ...]
    codes: Tuple[Dict[str, Any], ...]
    ignored: Tuple[Dict[str, Any], ...] = ()

    def mask(self, label: Optional[str] = None) -> np.ndarray:
        """Draw the union of the objects of one class.

        Args:
            label (str, optional): The class; may be left out if the file has a single one.

        Returns:
            np.ndarray: (H, W) uint8; 1 object, 0 background, 255 ignored.

        Raises:
            UnknownClassError: If there is no such class, a ValueError.
            ValueError: If no class is given and there are several.
        """
        known = sorted(set(self.labels))
        if label is None and len(known) > 1:
            raise ValueError(f'{self.file} has objects of the classes {few(known)}: choose one (--class).')
        chosen = [code for name, code in zip(self.labels, self.codes)
                  if label is None or normal_name(name) == normal_name(label)]
        if not chosen:
            there = f'It has {few(known)}.' if known else 'It is empty.'
            wanted = '' if label is None else f' of the class "{label}"'
            raise UnknownClassError(f'{self.file} has no object{wanted}. {there}', known)
        mask = np.zeros(self.size, np.uint8)
        if self.ignored:
            mask[coco_mask.decode(coco_mask.merge(list(self.ignored))) > 0] = IGNORE
        mask[coco_mask.decode(coco_mask.merge(chosen)) > 0] = 1
        return mask


def polygon_code(polygon: List[float], size: Tuple[int, int], where: str) -> Dict[str, Any]:
    """Rasterize one polygon.

    Args:
        polygon (list[float]): Coordinates x1, y1, x2, y2, ..., pixels.
        size (tuple[int, int]): Height and width of the picture.
        where (str): File and object, for messages.

    Returns:
        dict: Run-length code.

    Raises:
        ValueError: If the polygon has fewer than three points, or coordinates that the picture cannot hold.
    """
    fault = shape_fault([polygon], *size)
    if fault is not None:
        raise ValueError(f'{where} {fault.text}. {fault.cure}')
    code = encode_shape([polygon], *size)
    if code is None:
        raise ValueError(f'{where} has {len(polygon) // 2} points: a polygon needs three.')
    return code


def mask_code(mask: np.ndarray) -> Dict[str, Any]:
    """Encode a boolean mask (H, W) as run lengths."""
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def parent_file(picture: Union[str, Path], names: Tuple[str, ...], levels: int = 2) -> Optional[Path]:
    """Find a file of one of some names beside a file or in the folders above it."""
    folder = Path(picture).absolute().parent
    for place in (folder, *folder.parents[:levels]):
        for name in names:
            if (place / name).is_file():
                return place / name
    return None

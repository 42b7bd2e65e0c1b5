"""Reading of object part annotations in their published formats."""
import io
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
import yaml
from numpy import ndarray
from PIL import Image

from mmfss.utils.files import read_text
from .images import checked_bytes

_VEHICLE = ('frontside', 'leftside', 'rightside', 'backside', 'roofside', 'leftmirror', 'rightmirror', 'fliplate',
            'bliplate', 'door_', 'wheel_', 'headlight_', 'window_')
_LEGS = ('lfuleg', 'lflleg', 'rfuleg', 'rflleg', 'lbuleg', 'lblleg', 'rbuleg', 'rblleg')
_PAWS = ('lfleg', 'lfpa', 'rfleg', 'rfpa', 'lbleg', 'lbpa', 'rbleg', 'rbpa')
_FACE = ('head', 'leye', 'reye', 'lear', 'rear')
_CATTLE = (*_FACE, 'muzzle', 'lhorn', 'rhorn', 'torso', 'neck', *_LEGS, 'tail')
PASCAL_PARTS: dict[int, tuple[str, ...]] = {
    1: ('body', 'stern', 'lwing', 'rwing', 'tail', 'engine_', 'wheel_'),
    2: ('fwheel', 'bwheel', 'saddle', 'handlebar', 'chainwheel', 'headlight_'),
    3: ('head', 'leye', 'reye', 'beak', 'torso', 'neck', 'lwing', 'rwing', 'lleg', 'lfoot', 'rleg', 'rfoot', 'tail'),
    5: ('cap', 'body'),
    6: _VEHICLE,
    7: _VEHICLE,
    8: (*_FACE, 'nose', 'torso', 'neck', *_PAWS, 'tail'),
    10: _CATTLE,
    12: (*_FACE, 'nose', 'torso', 'neck', *_PAWS, 'tail', 'muzzle'),
    13: (*_FACE, 'muzzle', 'lfho', 'rfho', 'lbho', 'rbho', 'torso', 'neck', *_LEGS, 'tail'),
    14: ('fwheel', 'bwheel', 'handlebar', 'saddle', 'headlight_'),
    15: (*_FACE, 'lebrow', 'rebrow', 'nose', 'mouth', 'hair', 'torso', 'neck', 'llarm', 'luarm', 'lhand', 'rlarm',
         'ruarm', 'rhand', 'llleg', 'luleg', 'lfoot', 'rlleg', 'ruleg', 'rfoot'),
    16: ('pot', 'plant'),
    17: _CATTLE,
    19: ('head', 'hfrontside', 'hleftside', 'hrightside', 'hbackside', 'hroofside', 'headlight_', 'coach_',
         'cfrontside_', 'cleftside_', 'crightside_', 'cbackside_', 'croofside_'),
    20: ('screen', ),
}
"""Parts of the PASCAL classes (1 aeroplane to 20 tvmonitor): the k-th name is part k. A name that ends in ``_`` stands
for all pieces of a kind ("wheel_1", "wheel_2", ...). At most 24 parts; boat, chair, table and sofa have none."""


class PartMap(NamedTuple):
    """Hold the part annotation of an image.

    Attributes:
        classes (ndarray): Class id of the annotation's own numbering, shape (H, W), int64; 0 for none.
        parts (ndarray): Part id within the class, 0 for none, shape (H, W), int64.
    """
    classes: ndarray
    parts: ndarray


def read_part_spec(path: str | Path) -> ndarray:
    """Read the specification that comes with Pascal-Panoptic-Parts: which raw part ids are one part.

    A YAML file with ``scene_class2part_classes``, parts by class, both in the order of their ids from 1, and
    ``countable_pids_groupings``, by class and part the raw ids that are merged ("wheel_1", "wheel_2", ...). A part
    without an entry there has its own id as raw id.

    Args:
        path (str | Path): The file.

    Returns:
        ndarray: Part of each class and raw id, 0 for none, shape (classes + 1, 100), int64.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file; it is named.
    """
    path = _existing(path)
    try:
        content = yaml.safe_load(read_text(path))
        classes, groups = content['scene_class2part_classes'], content.get('countable_pids_groupings') or {}
        table = np.zeros((len(classes) + 1, 100), np.int64)
        for class_id, (name, parts) in enumerate(classes.items(), start=1):
            for number, part in enumerate(parts or (), start=1):
                table[class_id, (groups.get(name) or {}).get(part, [number])] = number
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f'The specification of parts "{path}" cannot be used: {type(error).__name__}: '
                         f'{error}') from error
    return table


def read_panoptic_parts(path: str | Path, spec: Optional[ndarray] = None) -> PartMap:
    """Read a file of Cityscapes-Panoptic-Parts or Pascal-Panoptic-Parts.

    A TIFF of integers: a class alone (two digits), class and instance (class * 1000 + instance), or class, instance and
    part (class * 100000 + instance * 100 + part).

    Args:
        path (str | Path): The file.
        spec (ndarray, optional): Part of each class and raw part id, see :func:`read_part_spec`; raw ids by default.

    Returns:
        PartMap: Classes and parts.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file, or has a part that is not in the specification; it is named.
    """
    path = _existing(path)
    try:
        with Image.open(io.BytesIO(checked_bytes(path))) as image:
            ids = np.array(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f'The part annotation "{path}" cannot be read as an image: {error}') from error
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0 or ids.max() > 9_999_999:
        raise ValueError(f'The part annotation "{path}" is not a map of ids up to 9999999 (class, instance, part): '
                         f'shape {ids.shape}, {ids.dtype}, values {ids.min()} to {ids.max()}.')
    # Split the ids into class and part
    ids = ids.astype(np.int64)
    with_parts, with_instance = ids > 99_999, ids > 99
    classes = np.where(with_parts, ids // 100_000, np.where(with_instance, ids // 1000, ids))
    raw = np.where(with_parts, ids % 100, 0)
    if spec is None:
        return PartMap(classes, raw)
    # Merge parts by the specification
    parts = np.where(classes < len(spec), spec[np.minimum(classes, len(spec) - 1), raw], 0)
    lost = (raw > 0) & (parts == 0)
    if lost.any():
        raise ValueError(f'The part annotation "{path}" has part {raw[lost][0]} of class {classes[lost][0]}, which is '
                         'not in the specification.')
    return PartMap(classes, parts)


def read_pascal_part(path: str | Path) -> PartMap:
    """Read a file of Pascal-Part (``Annotations_Part/<image>.mat``).

    MATLAB structures: ``anno.objects`` with ``class_ind``, ``mask`` and ``parts`` (``part_name``, ``mask``). Parts are
    drawn in the order of the file, later ones on top.

    Args:
        path (str | Path): The file.

    Returns:
        PartMap: Classes (1 to 20) and parts, numbered by :data:`PASCAL_PARTS`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file, or has an unknown part; it is named.
    """
    from scipy.io import loadmat
    path = _existing(path)
    try:
        objects = np.atleast_1d(loadmat(str(path), squeeze_me=True, struct_as_record=False)['anno'].objects)
        found = [(int(item.class_ind), np.asarray(item.mask, bool), _parts_of(item)) for item in objects]
        shape = found[0][1].shape
    except Exception as error:  # Whatever a damaged file makes of the reader.
        raise ValueError(f'The part annotation "{path}" is not a file of Pascal-Part: {type(error).__name__}: '
                         f'{error}') from error
    classes, parts = np.zeros((2, *shape), np.int64)
    for class_id, mask, pieces in found:
        classes[mask], parts[mask] = class_id, 0
        for name, piece in pieces:
            parts[piece & mask] = _number(class_id, name, path)
    return PartMap(classes, parts)


def _parts_of(item: object) -> list[tuple[str, ndarray]]:
    return [(str(part.part_name), np.asarray(part.mask, bool)) for part in np.atleast_1d(item.parts)
            if hasattr(part, 'part_name')]


def _number(class_id: int, name: str, path: Path) -> int:
    names = PASCAL_PARTS.get(class_id, ())
    stem = name.rstrip('0123456789')
    for number, known in enumerate(names, start=1):
        if known in (name, stem):
            return number
    raise ValueError(f'The part annotation "{path}" has a part "{name}" of class {class_id}, which has '
                     f'{", ".join(names) or "none"}.')


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'The part annotation "{path}" does not exist.')
    return path

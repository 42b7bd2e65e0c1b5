"""An explained episode as data of a web page: small pictures, outlines as vector paths, heat maps as grey pictures."""
import base64
import io
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Union

import cv2
import numpy as np
from PIL import Image, features

from mmfss.datasets.images import read_image
from .heatmap import scale_heat

PICTURE_SIDE = 384
MAP_SIDE = 192
# Entries of attributions.npz that are not maps of an explainer.
KEYS = ('region', 'prediction', 'target', 'support_masks', 'query', 'supports')

_FORMAT = 'webp' if features.check('webp') else 'jpeg'

Record = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]


def episode_entry(record: Record, folder: Union[str, Path]) -> dict[str, Any]:
    """Gather what the page shows of one episode.

    Letters: N ways, K shots.

    Args:
        record (dict): What ``record.json`` holds; optionally ``neutral``, by explainer the level of no contribution of
            each class.
        folder (str | Path): Folder of ``attributions.npz``. Pictures are read from the files that the record's ``info``
            names (``img_path``, ``support_paths``), or from the entries ``query`` (h, w, 3) and ``supports``
            (N, K, H, W, 3) of that file, uint8 RGB, if it has them. A picture that is not there any more is left out.

    Returns:
        dict: Plain values; pictures are data URIs of at most ``PICTURE_SIDE`` pixels, maps of ``MAP_SIDE``.

    Raises:
        FileNotFoundError: If there is no ``attributions.npz``.
    """
    path = Path(folder) / 'attributions.npz'
    if not path.is_file():
        raise FileNotFoundError(f'Episode {record["index"]} has a record, but no "{path}".')
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    info = record.get('info') or {}
    neutral = record.get('neutral') or {}
    names = [name for name in arrays if name not in KEYS]
    return dict(
        index=record['index'],
        classes=_class_names(info, arrays),
        iou=record.get('iou'),
        empty=bool(record.get('empty')),
        reason=record.get('reason'),
        explainers=names,
        signed=[name for name in names if name in neutral],
        query=_query(info, arrays),
        supports=_supports(info, arrays, {name: arrays[name] for name in names}, neutral),
        **{key: round_numbers(record.get(key) or {}) for key in ('scores', 'seconds', 'contributions')})


def _class_names(info: Mapping[str, Any], arrays: Arrays) -> list[str]:
    return list(info.get('class_names') or (f'class {n}' for n in range(1, len(arrays['support_masks']) + 1)))


def _query(info: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    image = arrays.get('query') if 'query' in arrays else read_picture(info.get('img_path'))
    ways = range(1, len(arrays['support_masks']) + 1)
    outlines = dict(prediction=[arrays['prediction'] == n for n in ways])
    if 'target' in arrays:
        outlines.update(truth=[arrays['target'] == n for n in ways], ignored=[arrays['target'] == 255])
    if 'region' in arrays:
        outlines.update(region=list(arrays['region'] > 0))
    view = view_size(arrays['prediction'].shape)
    return dict(
        name=str(info.get('query_name') or 'query'), size=view, **picture_entry(image, view),
        **{name: [outline(mask, view) for mask in masks] for name, masks in outlines.items()})


def _supports(info: Mapping[str, Any], arrays: Arrays, maps: Arrays,
              neutral: Mapping[str, Sequence[float]]) -> list[list[dict[str, Any]]]:
    masks = arrays['support_masks']
    view = view_size(masks.shape[2:])
    supports: list[list[dict[str, Any]]] = []
    for way in range(masks.shape[0]):
        heats = {name: scale_heat(values[way], neutral[name][way] if name in neutral else None)
                 for name, values in maps.items()}
        supports.append([])
        for shot in range(masks.shape[1]):
            image = arrays['supports'][way, shot] if 'supports' in arrays else None
            image = read_picture(_item(info, 'support_paths', way, shot)) if image is None else image
            supports[-1].append(dict(
                name=str(_item(info, 'support_names', way, shot) or f'support {shot + 1}'), size=view,
                **picture_entry(image, view), mask=outline(masks[way, shot] == 1, view),
                maps={name: encode_map(heat[shot]) for name, heat in heats.items()}))
    return supports


def _item(info: Mapping[str, Any], key: str, way: int, shot: int) -> Optional[str]:
    values = info.get(key)
    return values[way][shot] if values else None


def read_picture(path: Optional[str]) -> Optional[np.ndarray]:
    """A picture (H, W, 3) RGB, or None if its file is not known or not there any more."""
    if path is None or not Path(path).is_file():
        return None
    return np.ascontiguousarray(read_image(path)[..., ::-1])


def view_size(shape: Sequence[int]) -> list[int]:
    """Width and height of the coordinates in which outlines are drawn."""
    scale = PICTURE_SIDE / max(shape)
    return [max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))]


def picture_entry(image: Optional[np.ndarray], view: Sequence[int]) -> dict[str, Any]:
    """Source and proportions; without a picture those of the outlines."""
    if image is None:
        return dict(src=None, width=view[0], height=view[1])
    small = shrink(image, PICTURE_SIDE)
    return dict(src=data_uri(small, quality=78), width=image.shape[1], height=image.shape[0])


def shrink(array: np.ndarray, side: int) -> np.ndarray:
    """A picture or map whose longer side is at most ``side`` pixels."""
    height, width = array.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return array
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA)


def encode_map(heat: np.ndarray) -> str:
    """A heat map with display values in [0, 1], shape (H, W), as a grey picture in a data URI."""
    return data_uri((255 * shrink(heat, MAP_SIDE)).round().astype(np.uint8), quality=60)


def data_uri(image: np.ndarray, quality: int) -> str:
    """A uint8 image, grey (H, W) or RGB (H, W, 3), as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, _FORMAT, quality=quality)
    return f'data:image/{_FORMAT};base64,{base64.b64encode(buffer.getvalue()).decode()}'


def outline(mask: np.ndarray, view: Sequence[int]) -> str:
    """The outline of a mask as an SVG path, holes included (to be filled by the even-odd rule).

    Args:
        mask (np.ndarray): Boolean, shape (H, W).
        view (Sequence[int]): Width and height of the coordinates, stretched over the mask.

    Returns:
        str: The path; empty for an empty mask.
    """
    large = cv2.resize(mask.astype(np.float32), tuple(view), interpolation=cv2.INTER_LINEAR) > 0.5
    lines, _ = cv2.findContours(large.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = []
    for line in lines:
        points = cv2.approxPolyDP(line, 0.8, closed=True)[:, 0]
        steps = np.diff(points, axis=0).ravel().tolist()
        parts.append(f'M{points[0, 0]} {points[0, 1]}' + (f'l{" ".join(map(str, steps))}' if steps else '') + 'z')
    return ''.join(parts)


def round_numbers(value: Any, digits: int = 4) -> Any:
    """Numbers of a tree with that many significant digits, for a smaller page."""
    if isinstance(value, Mapping):
        return {str(key): round_numbers(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [round_numbers(item, digits) for item in value]
    if isinstance(value, float):
        return float(f'{value:.{digits}g}') if np.isfinite(value) else None
    return value

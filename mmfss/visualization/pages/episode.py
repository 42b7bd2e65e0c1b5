"""An explained episode as data of a web page: small pictures, outlines as vector paths, heat maps as grey pictures."""
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Union

import numpy as np

from ..heatmap import scale_heat
from .episode_prototypes import reading_entry
from .pictures import encode_map, outline, picture_entry, read_picture, round_numbers, view_size

# Entries of attributions.npz that are not maps of an explainer.
KEYS = ('region', 'prediction', 'target', 'support_masks', 'query', 'supports')

Record = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]


def episode_entry(record: Record, folder: Union[str, Path]) -> dict[str, Any]:
    """Gather the page data of one episode.

    Letters: N ways, K shots.

    Args:
        record (dict): What ``record.json`` holds; optionally ``neutral``, by explainer the level of no contribution of
            each class.
        folder (str | Path): Folder of ``attributions.npz``. Pictures are read from the files that the record's ``info``
            names (``img_path``, ``support_paths``; ``upright`` says whether they were turned by their EXIF orientation
            when they were loaded), or from the entries ``query`` (h, w, 3) and ``supports`` (N, K, H, W, 3) of that
            file, uint8 RGB, if it has them. A picture that is not there any more is left out.

    Returns:
        dict: Plain values; pictures are data URIs of at most 384 pixels, maps of 192. What prototypes said is in
        ``prototypes``, see :func:`reading_entry`, where the record has it.

    Raises:
        FileNotFoundError: If there is no ``attributions.npz``.
    """
    path = Path(folder) / 'attributions.npz'
    if not path.is_file():
        raise FileNotFoundError(f'Episode {record["index"]} has a record, but no "{path}".')
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    # Explainers' maps have plain names
    info = record.get('info') or {}
    neutral = record.get('neutral') or {}
    names = [name for name in arrays if name not in KEYS and '/' not in name]
    entry = dict(
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
    if 'prototypes' in record:
        entry['prototypes'] = reading_entry(record['prototypes'], arrays,
                                            lambda way, shot: _support(info, arrays, way, shot))
    return entry


def _class_names(info: Mapping[str, Any], arrays: Arrays) -> list[str]:
    return list(info.get('class_names') or (f'class {n}' for n in range(1, len(arrays['support_masks']) + 1)))


def _query(info: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    image = arrays.get('query') if 'query' in arrays else read_picture(info, info.get('img_path'))
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
            image = _support(info, arrays, way, shot)
            supports[-1].append(dict(
                name=str(_item(info, 'support_names', way, shot) or f'support {shot + 1}'), size=view,
                **picture_entry(image, view), mask=outline(masks[way, shot] == 1, view),
                maps={name: encode_map(heat[shot]) for name, heat in heats.items()}))
    return supports


def _support(info: Mapping[str, Any], arrays: Arrays, way: int, shot: int) -> Optional[np.ndarray]:
    if 'supports' in arrays:
        return arrays['supports'][way, shot]
    return read_picture(info, _item(info, 'support_paths', way, shot))


def _item(info: Mapping[str, Any], key: str, way: int, shot: int) -> Optional[str]:
    values = info.get(key)
    return values[way][shot] if values else None

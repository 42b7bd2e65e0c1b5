"""Work of :mod:`mmfss.commands.dataset_converters.deepglobe`."""
import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from mmengine.utils import ProgressBar
from PIL import Image

from mmfss.converters.dataset_files import require_files
from mmfss.converters.deepglobe_tiles import COLORS, GRID, VARIANTS, mask_tiles, tile_windows
from mmfss.datasets.images import read_image
from mmfss.utils.files import atomic_path, dump_json
from mmfss.utils.names import list_names

PARTS = '.tiles'  # one record per source image below OUT: what is done
Record = Dict[str, Any]


def find_sources(src: Path) -> List[str]:
    """Ids of the images, sorted; each has a mask.

    Raises:
        FileNotFoundError: If there is none, or the image of a mask is missing.
    """
    masks = list_names(src).values() if src.is_dir() else ()
    ids = sorted(name[:-len('_mask.png')] for name in masks if name.endswith('_mask.png'))
    if not ids:
        raise FileNotFoundError(f'"{src}" holds no <id>_mask.png; SRC must be the training part of DeepGlobe '
                                'land cover.')
    require_files((src / f'{name}_sat.jpg' for name in ids), 'satellite image')
    return ids


def load_record(out: Path, name: str, settings: Record) -> Record:
    """What a former run did with an image; empty if it did not finish it.

    Raises:
        ValueError: If it worked with other settings.
    """
    path = out / PARTS / f'{name}.json'
    if not path.is_file():
        return {}
    record = json.loads(path.read_text(encoding='utf-8'))
    if record['settings'] != settings:
        raise ValueError(f'"{out}" was begun with {record["settings"]}, not {settings}. Name another folder.')
    files = [out / 'image' / f'{name}_sat_{suffix}.jpg' for suffix in record['kept']]
    files += [mask_path(out, folder, name, suffix) for folder, tiles in record['classes'].items() for suffix in tiles]
    return record if all(file.is_file() for file in files) else {}


def mask_path(out: Path, folder: Any, name: str, suffix: str) -> Path:
    """Return the path of the mask of a class in a tile."""
    return out / 'filter_mask' / str(folder) / f'{name}_mask_{suffix}.png'


def convert_image(name: str, src: Path, out: Path, settings: Record) -> Record:
    """Cut one image and its mask; returns the record, which is written last.

    Raises:
        ValueError: If a file cannot be read, or image and mask differ in size.
    """
    record = load_record(out, name, settings)
    if record:
        return record
    # Read
    mask = read_image(src / f'{name}_mask.png')[..., ::-1]
    image = read_image(src / f'{name}_sat.jpg')[..., ::-1]
    if image.shape != mask.shape or min(mask.shape[:2]) < GRID:
        raise ValueError(f'The mask "{src / name}_mask.png" has size {mask.shape[:2]} (H, W), its image '
                         f'{image.shape[:2]}: they must be equal, and at least {GRID} x {GRID}.')
    # Cut into tiles
    windows = {suffix: (rows, columns) for suffix, rows, columns in tile_windows(*mask.shape[:2])}
    record = dict(settings=settings, kept=[], classes={str(folder): {} for folder in COLORS})
    for tile in mask_tiles(mask, VARIANTS[settings['variant']]):
        record['kept'].append(tile.suffix)
        save(image[windows[tile.suffix]], out / 'image' / f'{name}_sat_{tile.suffix}.jpg', quality=settings['quality'])
        for folder, shown in tile.masks.items():
            record['classes'][str(folder)][tile.suffix] = int(shown.sum())
            save(shown.astype(np.uint8) * 255, mask_path(out, folder, name, tile.suffix))
    dump_json(record, out / PARTS / f'{name}.json')
    return record


def save(picture: np.ndarray, path: Path, **options: Any) -> None:
    """Write a picture in one step."""
    with atomic_path(path) as temporary:
        Image.fromarray(np.ascontiguousarray(picture)).save(temporary, **options)


def summarize(records: Dict[str, Record], settings: Record) -> Record:
    """Return the content of deepglobe.json."""
    kept = [f'{name}_mask_{suffix}' for name, record in records.items() for suffix in record['kept']]
    classes = {
        str(folder): {f'{name}_mask_{suffix}': pixels for name, record in records.items()
                      for suffix, pixels in record['classes'][str(folder)].items()}
        for folder in COLORS
    }
    return dict(settings=settings, images=len(records), tiles=GRID * GRID * len(records), kept=kept, classes=classes)


def convert(args: argparse.Namespace) -> None:
    """Convert, with parsed arguments."""
    if not 1 <= args.quality <= 100 or args.jobs < 1:
        raise ValueError(f'--quality must be 1..100 and --jobs at least 1, got {args.quality} and {args.jobs}.')
    settings = dict(variant=args.variant, quality=args.quality)
    ids = find_sources(args.src)
    for folder in COLORS:
        (args.out / 'filter_mask' / str(folder)).mkdir(parents=True, exist_ok=True)
    # Convert in parallel
    work = partial(convert_image, src=args.src, out=args.out, settings=settings)
    bar, records = ProgressBar(len(ids)), {}
    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            for name, record in zip(ids, pool.map(work, ids)):
                records[name] = record
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    print()
    # Summary of all images
    summary = summarize(records, settings)
    dump_json(summary, args.out / 'deepglobe.json')
    print(f'{args.out}: {len(summary["kept"])} of {summary["tiles"]} tiles count; masks by class: '
          + ', '.join(f'{folder}: {len(tiles)}' for folder, tiles in summary['classes'].items()))

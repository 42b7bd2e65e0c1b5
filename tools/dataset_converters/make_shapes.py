"""Make the embedded shapes data set, which otherwise is made when it is first used, and optionally a page of samples.

Layout and meaning: mmfss.datasets.ShapesIndex. The same numbers give the same data set.
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from mmfss.converters.dataset_files import run_dataset_converter
from mmfss.datasets.shapes.files import MARKER, PARTS, ShapesSpec, ensure_shapes, scenes
from mmfss.utils.files import atomic_path

PREVIEW_ROWS, PREVIEW_COLUMNS = 5, 8


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    default = ShapesSpec()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('data_root', nargs='?', default='data/shapes', help='folder to make')
    parser.add_argument('--num-train', type=int, default=default.num_train, help='images of the train part')
    parser.add_argument('--num-val', type=int, default=default.num_val, help='images of the val part')
    parser.add_argument('--side', type=int, default=default.side, help='side of the images in pixels')
    parser.add_argument('--seed', type=int, default=default.seed, help='seed of everything that is chance')
    parser.add_argument('--preview', type=Path, help='also write a page of the first val images to this file')
    return parser


def write_preview(path: Path, spec: ShapesSpec) -> None:
    """Write the first val images, tiled, as one picture."""
    images = [scene.image for scene in scenes(PARTS[1], PREVIEW_ROWS * PREVIEW_COLUMNS, spec)]
    rows = np.array(images).reshape(PREVIEW_ROWS, PREVIEW_COLUMNS, spec.side, spec.side, 3)
    with atomic_path(path) as temporary:
        Image.fromarray(rows.transpose(0, 2, 1, 3, 4).reshape(PREVIEW_ROWS * spec.side, -1, 3)).save(temporary)


def convert(args: argparse.Namespace) -> None:
    """Run the tool."""
    spec = ShapesSpec(args.num_train, args.num_val, args.side, args.seed)
    root = ensure_shapes(args.data_root, spec)
    if args.preview is not None:
        write_preview(args.preview, spec)
    marker = json.loads((root / MARKER).read_text(encoding='utf-8'))
    print(f'{root}: {spec.num_train} + {spec.num_val} images, SHA-256 of the pixels {marker["sha256"]}')


if __name__ == '__main__':
    run_dataset_converter(make_parser(), convert)

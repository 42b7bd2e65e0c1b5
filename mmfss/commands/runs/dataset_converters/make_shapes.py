"""Work of :mod:`mmfss.commands.dataset_converters.make_shapes`."""
import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from mmfss.datasets.shapes.files import MARKER, PARTS, ShapesSpec, ensure_shapes, scenes
from mmfss.utils.files import atomic_path

PREVIEW_ROWS, PREVIEW_COLUMNS = 5, 8


def write_preview(path: Path, spec: ShapesSpec) -> None:
    """Write the first val images, tiled, as one picture."""
    images = [scene.image for scene in scenes(PARTS[1], PREVIEW_ROWS * PREVIEW_COLUMNS, spec)]
    rows = np.array(images).reshape(PREVIEW_ROWS, PREVIEW_COLUMNS, spec.side, spec.side, 3)
    with atomic_path(path) as temporary:
        Image.fromarray(rows.transpose(0, 2, 1, 3, 4).reshape(PREVIEW_ROWS * spec.side, -1, 3)).save(temporary)


def convert(args: argparse.Namespace) -> None:
    """Convert, with parsed arguments."""
    spec = ShapesSpec(args.num_train, args.num_val, args.side, args.seed)
    root = ensure_shapes(args.data_root, spec)
    if args.preview is not None:
        write_preview(args.preview, spec)
    marker = json.loads((root / MARKER).read_text(encoding='utf-8'))
    print(f'{root}: {spec.num_train} + {spec.num_val} images, SHA-256 of the pixels {marker["sha256"]}')

"""Work of :mod:`mmfss.commands.dataset_converters.isbi_em`."""
import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from mmfss.datasets.images import checked_bytes
from mmfss.utils.files import atomic_path

NUM_VAL, SEED = 10, 42


def read_volume(path: Path) -> list[np.ndarray]:
    """Slices of a multi-page TIFF, (H, W) uint8 each.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a volume.
    """
    if not path.is_file():
        raise FileNotFoundError(f'"{path}" does not exist.')
    with Image.open(io.BytesIO(checked_bytes(path))) as volume:
        slices = [np.array(page) for page in ImageSequence.Iterator(volume)]
    if any(page.ndim != 2 or page.dtype != np.uint8 for page in slices):
        raise ValueError(f'"{path}" is not a volume of grey slices of 8 bits.')
    return slices


def convert(args: argparse.Namespace) -> None:
    """Convert, with parsed arguments."""
    source, target = args.src, args.dst
    images, labels = (read_volume(source / f'train-{kind}.tif') for kind in ('volume', 'labels'))
    if len(images) != len(labels) or len(images) <= NUM_VAL:
        raise ValueError(f'"{source}" has {len(images)} images and {len(labels)} labels; there must be as many of one '
                         f'as of the other, and more than {NUM_VAL}.')
    # Draw the slices of validation, write all
    val = set(np.random.RandomState(SEED).choice(len(images), NUM_VAL, replace=False).tolist())
    counts = dict(train=0, val=0)
    for number, (image, label) in enumerate(zip(images, labels)):
        if not set(np.unique(label)) <= {0, 255}:
            raise ValueError(f'Slice {number} of "{source / "train-labels.tif"}" has other values than 0 and 255.')
        part = 'val' if number in val else 'train'
        for kind, content in (('images', image), ('labels', (label == 255).astype(np.uint8))):
            with atomic_path(target / kind / part / f'{number:02d}.png') as path:
                Image.fromarray(content).save(path)
        counts[part] += 1
    print(f'{target}: ' + ', '.join(f'{count} slices to {part}' for part, count in counts.items()))

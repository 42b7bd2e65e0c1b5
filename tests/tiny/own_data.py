"""A user's own data in few tiny files."""
from pathlib import Path
from typing import Sequence

import numpy as np
from PIL import Image


def write_labelled_pictures(root: Path, values: Sequence[int], size: tuple[int, int] = (40, 60), train: int = 4,
                            val: int = 2) -> Path:
    """Write pictures that are cut into columns, one for each label value, in the layout of ``LabelFolderDataset``."""
    rng = np.random.RandomState(0)
    columns = np.minimum(np.arange(size[1]) * len(values) // size[1], len(values) - 1)
    labels = np.broadcast_to(np.array(values, np.uint8)[columns], size)
    for split, count in (('train', train), ('val', val)):
        for part in ('images', 'labels'):
            (root / part / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            colours = labels[..., None].astype(int) * (37, 91, 151) % 256
            image = np.clip(colours + rng.randint(0, 40, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / 'images' / split / f'{number}.jpg')
            Image.fromarray(labels).save(root / 'labels' / split / f'{number}.png')
    return root


def write_class_folders(root: Path, counts: dict[str, int], size: tuple[int, int] = (40, 60)) -> Path:
    """Write pictures with a square in them, and its mask, in the layout of ``ImageFolderDataset``."""
    rng = np.random.RandomState(0)
    for name, count in counts.items():
        for part in ('images', 'masks'):
            (root / name / part).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros(size, np.uint8)
            mask[10:30, 10 + number:30 + number] = 255
            image = rng.randint(0, 120, (*size, 3)) + (mask[..., None] // 2)
            Image.fromarray(image.astype(np.uint8)).save(root / name / 'images' / f'{number:02d}.png')
            Image.fromarray(mask).save(root / name / 'masks' / f'{number:02d}.png')
    return root

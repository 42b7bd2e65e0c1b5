"""A dataset of a few small pictures, written in a moment."""
from pathlib import Path
from typing import Sequence

import numpy as np
from PIL import Image

from tests.references.seeded import seeded_image, seeded_mask

PIPELINE = [
    dict(
        type='ForEachImage',
        transforms=[
            dict(type='LoadEpisodeImage'),
            dict(type='LoadClassMask', keep_original=True),
            dict(type='ResizeEpisodeImage', scale=(64, 64)),
        ]),
    dict(type='PackEpisodeInputs'),
]


def draw_picture(name: str, hue: int, size: tuple[int, int] = (60, 80)) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) uint8 RGB with one object in a channel of its own, and its mask (H, W) bool."""
    mask = seeded_mask(name, size).astype(bool)
    image = 90 + 25 * np.moveaxis(seeded_image(name, (3, *size)), 0, -1)
    image[mask, hue % 3] += 110
    return image.clip(0, 255).astype(np.uint8), mask


def write_class_folders(root: Path, classes: Sequence[str] = ('ant', 'bee', 'cat', 'dog'), num_images: int = 4) -> Path:
    """Write ``<class>/images/<i>.jpg`` and ``<class>/masks/<i>.png``; returns the root."""
    for hue, name in enumerate(classes):
        for folder in ('images', 'masks'):
            (root / name / folder).mkdir(parents=True)
        for i in range(num_images):
            image, mask = draw_picture(f'{name}{i}', hue)
            Image.fromarray(image).save(root / name / 'images' / f'{i}.jpg')
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / name / 'masks' / f'{i}.png')
    return root

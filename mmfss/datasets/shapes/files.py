"""Files of the shapes dataset: rendered once in the layout and format of COCO, and written atomically."""
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

import cv2
import numpy as np
import torch
from filelock import FileLock
from mmengine.logging import print_log
from numpy import ndarray
from PIL import Image
from pycocotools import mask as coco_mask

from mmfss.utils.defaults import SHAPES_SEED, SHAPES_SIDE, SHAPES_TRAIN, SHAPES_VAL
from mmfss.utils.progress import Progress
from .classes import CLASSES
from .scene import Scene, render

VERSION = 4  # of the pictures; to be raised with any change of the drawing code
MARKER = 'shapes.json'
PARTS = ('train', 'val')
JPEG_QUALITY = 92
CHUNK = 20  # images that a process draws at a time


class ShapesSpec(NamedTuple):
    """Parameters that determine the dataset.

    Attributes:
        num_train (int): Images of the train part.
        num_val (int): Images of the val part; they come from other random sources than the train images.
        side (int): Side of the square images in pixels.
        seed (int): Seed, 0 or more.
    """
    num_train: int = SHAPES_TRAIN
    num_val: int = SHAPES_VAL
    side: int = SHAPES_SIDE
    seed: int = SHAPES_SEED

    def check(self) -> None:
        """Check that all numbers are in range.

        Raises:
            ValueError: Naming the number, what is allowed and what was given.
        """
        for key, low in dict(num_train=1, num_val=1, side=32, seed=0).items():
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ValueError(f'{key} must be an integer of {low} or more, got {value!r}.')


def ensure_shapes(root: str | os.PathLike, spec: ShapesSpec = ShapesSpec()) -> Path:
    """Create the dataset unless it exists.

    It is written beside its place and renamed when complete, so a process that is killed leaves no half dataset; of
    several processes that start together one writes and the others wait.

    Args:
        root (str | PathLike): Folder of the dataset.
        spec (ShapesSpec): What to make.

    Returns:
        Path: The folder.

    Raises:
        FileExistsError: If the folder holds something else, or shapes of another specification.
        ValueError: If a number of the specification is out of range.
    """
    spec.check()
    root = Path(root).expanduser()
    if _is_made(root, spec):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    # One process draws, the others wait
    with FileLock(root.with_name(f'.{root.name}.lock')):
        if not _is_made(root, spec):
            partial = root.with_name(f'.{root.name}.partial')
            shutil.rmtree(partial, ignore_errors=True)
            print_log(f'Drawing the shapes dataset into "{root}" (once): {spec.num_train} + {spec.num_val} images.',
                      logger='current', level=logging.INFO)
            write_shapes(partial, spec)
            if root.is_dir():
                root.rmdir()
            partial.rename(root)
    return root


def _marker(spec: ShapesSpec) -> dict[str, Any]:
    return dict(version=VERSION, **spec._asdict())


def _is_made(root: Path, spec: ShapesSpec) -> bool:
    """Check whether the root holds exactly this dataset; False if it does not exist or is empty."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = dict(json.loads((root / MARKER).read_text(encoding='utf-8')))
    except (OSError, TypeError, ValueError) as error:
        raise FileExistsError(f'"{root}" exists and is not a shapes dataset (no readable {MARKER}). Set data_root to '
                              'a folder that does not exist yet; the data is made there.') from error
    wrong = [f'{key} {found.get(key)!r}, wanted {value!r}' for key, value in _marker(spec).items()
             if found.get(key) != value]
    if wrong:
        raise FileExistsError(f'"{root}" holds another shapes dataset ({"; ".join(wrong)}). Delete the folder to have '
                              'it made anew, or set data_root to another one.')
    return True


def write_shapes(root: str | os.PathLike, spec: ShapesSpec = ShapesSpec()) -> str:
    """Render and write the dataset; see :class:`mmfss.datasets.ShapesIndex` for the layout.

    Args:
        root (str | PathLike): Folder to make; must not exist.
        spec (ShapesSpec): What to make.

    Returns:
        str: SHA-256 of all pictures before compression and of all masks, also in the marker file ``shapes.json``. The
        same numbers give the same pictures; other versions of OpenCV or NumPy may round differently.
    """
    root = Path(root)
    root.mkdir(parents=True)
    digest = hashlib.sha256()
    total = spec.num_train + spec.num_val
    progress = Progress(total, 'drawing', 'images')
    with ExitStack() as stack:
        # Threads cost more than they save on images this small, so processes share the work.
        stack.callback(cv2.setNumThreads, cv2.getNumThreads())
        cv2.setNumThreads(1)
        processes = min(torch.get_num_threads(), total // CHUNK)
        each: Callable = map
        # A worker of a pool or a data loader may have no processes of its own.
        if processes > 1 and not multiprocessing.current_process().daemon:
            pool = ProcessPoolExecutor(processes, multiprocessing.get_context('fork'))
            each = partial(stack.enter_context(pool).map, chunksize=CHUNK)
        for part, count in zip(PARTS, (spec.num_train, spec.num_val)):
            _write_part(root, part, each(partial(_scene, part=part, spec=spec), range(count)), spec, digest, progress)
    _dump(dict(_marker(spec), sha256=digest.hexdigest()), root / MARKER)
    return digest.hexdigest()


def scenes(part: str, count: int, spec: ShapesSpec) -> Iterator[Scene]:
    """Render the first scenes of a part; each has a random source of its own.

    Args:
        part (str): ``'train'`` or ``'val'``.
        count (int): How many.
        spec (ShapesSpec): Gives seed and side.

    Yields:
        Scene: The scenes in order.
    """
    for number in range(count):
        yield _scene(number, part, spec)


def _scene(number: int, part: str, spec: ShapesSpec) -> Scene:
    return render(np.random.RandomState([spec.seed, PARTS.index(part), number]), spec.side)


def _write_part(root: Path, part: str, drawn: Iterator[Scene], spec: ShapesSpec, digest: Any,
                progress: Progress) -> None:
    folder = root / 'images' / part
    folder.mkdir(parents=True)
    images, annotations = [], []
    # Images
    for number, scene in enumerate(drawn, start=1):
        name = f'{number:06d}.jpg'
        Image.fromarray(scene.image).save(folder / name, quality=JPEG_QUALITY, subsampling=0)
        images.append(dict(id=number, file_name=name, width=spec.side, height=spec.side))
        for class_id, mask in zip(scene.class_ids, scene.masks):
            annotations.append(_annotation(len(annotations) + 1, number, class_id, mask))
        digest.update(scene.image.tobytes())
        digest.update(np.packbits(scene.masks).tobytes())
        progress.update()
    # Annotations
    content = dict(
        info=dict(description='shapes: rendered few-shot segmentation data', version=str(VERSION), seed=spec.seed),
        licenses=[],
        images=images,
        annotations=annotations,
        categories=[dict(id=number, name=name, supercategory='shape') for number, (name, *_) in enumerate(CLASSES, 1)])
    (root / 'annotations').mkdir(exist_ok=True)
    _dump(content, root / 'annotations' / f'instances_{part}.json')


def _annotation(number: int, image_id: int, class_id: int, mask: ndarray) -> dict[str, Any]:
    """Make one COCO annotation, with the mask as compressed run lengths."""
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(
        id=number,
        image_id=image_id,
        category_id=class_id + 1,
        segmentation=dict(size=list(mask.shape), counts=code['counts'].decode('ascii')),
        area=int(mask.sum()),
        bbox=coco_mask.toBbox(code).tolist(),
        iscrowd=0)


def _dump(content: dict, path: Path) -> None:
    path.write_text(json.dumps(content), encoding='utf-8')

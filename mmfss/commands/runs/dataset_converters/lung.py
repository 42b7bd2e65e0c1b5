"""Work of :mod:`mmfss.commands.dataset_converters.lung`."""
import argparse
from pathlib import Path
from typing import List

import numpy as np
from mmengine.utils import track_iter_progress
from PIL import Image

from mmfss.converters.dataset_files import place_files, require_files
from mmfss.datasets.images import read_grey
from mmfss.utils.files import atomic_path

THRESHOLD = 128


def listed(folder: Path, pattern: str) -> List[str]:
    """Sorted names of the files of a pattern; none is an error."""
    names = sorted(path.name for path in folder.glob(pattern))
    if not names:
        raise FileNotFoundError(f'"{folder}" holds no {pattern}.')
    return names


def unite_lungs(names: List[str], manual: Path, out: Path) -> None:
    """Write the union of the left and the right lung of each image, 0 and 255, unless it is there.

    Raises:
        ValueError: If a mask cannot be read, or the two differ in size.
    """
    for name in track_iter_progress(names):
        if (out / name).is_file():
            continue
        left, right = (read_grey(manual / side / name) >= THRESHOLD for side in ('leftMask', 'rightMask'))
        if left.shape != right.shape:
            raise ValueError(f'The masks of "{name}" in "{manual}" have the sizes {left.shape} and {right.shape}.')
        with atomic_path(out / name) as temporary:
            Image.fromarray((left | right).astype(np.uint8) * 255).save(temporary)
    print()


def convert(args: argparse.Namespace) -> None:
    """Convert, with parsed arguments."""
    manual = args.montgomery / 'ManualMask'
    montgomery = listed(args.montgomery / 'CXR_png', 'MCUCXR_*.png')
    require_files((manual / side / name for name in montgomery for side in ('leftMask', 'rightMask')), 'mask')
    masks = listed(args.shenzhen_masks, 'CHNCXR_*_mask.png')
    shenzhen = [mask.replace('_mask.png', '.png') for mask in masks]
    require_files((args.shenzhen / name for name in shenzhen), 'image')
    place_files([(args.montgomery / 'CXR_png' / name, args.out / 'CXR_png' / name) for name in montgomery]
                + [(args.shenzhen / name, args.out / 'CXR_png' / name) for name in shenzhen]
                + [(args.shenzhen_masks / mask, args.out / 'masks' / mask) for mask in masks], args.link)
    unite_lungs(montgomery, manual, args.out / 'masks')
    print(f'{args.out}: {len(montgomery)} + {len(shenzhen)} images and masks')

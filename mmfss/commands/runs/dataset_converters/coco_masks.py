"""Work of :mod:`mmfss.commands.dataset_converters.coco_masks`."""
import argparse
import posixpath
from typing import Dict

from mmengine.utils import track_iter_progress
from PIL import Image

from mmfss.datasets import CocoInstanceIndex
from mmfss.datasets.class_indices import coco_mask_file, label_format
from mmfss.utils.files import atomic_path


def mask_files(index: CocoInstanceIndex) -> Dict[str, str]:
    """Image of each PNG, by its path below the folder of the PNGs.

    Raises:
        ValueError: If two images would have one PNG, or one would lie outside the folder.
    """
    found: Dict[str, str] = {}
    for name in index.image_names():
        file = posixpath.normpath(coco_mask_file(name, index.prefix))
        if file.startswith(('/', '../')):
            raise ValueError(f'{index.ann_file}: the image "{name}" lies outside its folder "{index.prefix}", and its '
                             'mask would lie outside that of the masks. Set --img-dir to a folder above all images and '
                             'correct "file_name".')
        if file in found:
            raise ValueError(f'{index.ann_file}: the images "{found[file]}" and "{name}" differ in their suffix only '
                             f'and would both have the mask "{file}". Rename one of them.')
        found[file] = name
    return found


def convert(args: argparse.Namespace) -> None:
    """Convert, with parsed arguments."""
    index = CocoInstanceIndex(str(args.data_root), args.ann_file, args.img_dir, args.crowd)
    label_format(len(index.classes))  # more classes than numbers: refused before work starts
    mask_dir = args.data_root / (args.mask_dir or f'annotations/{index.prefix}')
    for file, name in track_iter_progress(list(mask_files(index).items())):
        with atomic_path(mask_dir / file) as temporary:
            Image.fromarray(index.load_class_numbers(name)).save(temporary)
    print()

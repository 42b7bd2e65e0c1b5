"""Turn a COCO instances file into class-number PNGs: 0 background, class + 1 (classes sorted by category id).

Larger objects are drawn first, so the smaller of two overlapping objects has the pixel. The PNGs lie in
<data_root>/annotations/<img_dir> unless --mask-dir says otherwise, where mmfss.datasets.CocoMaskIndex expects them, in
the folders of their images. More than 254 classes are written with 16 bits. The annotations are checked first: nothing
is written if one of them is faulty, or if two images would have one PNG.
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
import posixpath
from pathlib import Path
from typing import Dict

from mmengine.utils import track_iter_progress
from PIL import Image

from mmfss.converters.dataset_files import run_dataset_converter
from mmfss.datasets import CocoInstanceIndex
from mmfss.datasets.class_indices import coco_mask_file, label_format
from mmfss.utils.files import atomic_path


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', type=Path, help='the COCO folder')
    parser.add_argument('--ann-file', default='annotations/instances_val2014.json', help='annotations below the root')
    parser.add_argument('--img-dir', default='val2014', help='folder of the images below the root')
    parser.add_argument('--mask-dir', help='folder of the PNGs below the root (default annotations/<img-dir>)')
    parser.add_argument('--crowd', choices=CocoInstanceIndex.CROWD, default='foreground', help='what crowd regions are')
    return parser


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
    """Run the tool."""
    index = CocoInstanceIndex(str(args.data_root), args.ann_file, args.img_dir, args.crowd)
    label_format(len(index.classes))  # more classes than numbers: refused before work starts
    mask_dir = args.data_root / (args.mask_dir or f'annotations/{index.prefix}')
    for file, name in track_iter_progress(list(mask_files(index).items())):
        with atomic_path(mask_dir / file) as temporary:
            Image.fromarray(index.load_class_numbers(name)).save(temporary)
    print()


if __name__ == '__main__':
    run_dataset_converter(make_parser(), convert)

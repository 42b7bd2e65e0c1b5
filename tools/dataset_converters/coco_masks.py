"""Turn a COCO instances file into class-number PNGs: 0 background, class + 1 (classes sorted by category id).

Larger objects are drawn first, so the smaller of two overlapping objects has the pixel. The PNGs lie in
<data_root>/annotations/<img_dir> unless --mask-dir says otherwise, where mmfss.datasets.CocoMaskIndex expects them.
"""
import mmfss_threads  # noqa: F401  (before PyTorch)

import argparse
from pathlib import Path

from mmengine.utils import track_iter_progress
from PIL import Image

import mmfss  # noqa: F401  (first: it prepares the import of MMSegmentation)
from mmfss.datasets import CocoInstanceIndex
from mmfss.datasets.conversion import run_dataset_converter
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


def convert(args: argparse.Namespace) -> None:
    """Run the tool."""
    index = CocoInstanceIndex(str(args.data_root), args.ann_file, args.img_dir, args.crowd)
    mask_dir = args.data_root / (args.mask_dir or f'annotations/{args.img_dir}')
    for name in track_iter_progress(index.image_names()):
        label_map = index.load_label_map(name, range(len(index.classes)))
        with atomic_path(mask_dir / f'{Path(name).stem}.png') as temporary:
            Image.fromarray(label_map).save(temporary)
    print()


if __name__ == '__main__':
    run_dataset_converter(make_parser(), convert)

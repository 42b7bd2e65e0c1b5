"""Turn a COCO instances file into class-number PNGs: 0 background, class + 1 (classes sorted by category id).

Larger objects are drawn first, so the smaller of two overlapping objects has the pixel. The PNGs lie in
<data_root>/annotations/<img_dir> unless --mask-dir says otherwise, where mmfss.datasets.CocoMaskIndex expects them, in
the folders of their images. More than 254 classes are written with 16 bits. The annotations are checked first: nothing
is written if one of them is faulty, or if two images would have one PNG.
"""
import argparse
from pathlib import Path

from mmfss.utils.defaults import CROWD


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', type=Path, help='the COCO folder')
    parser.add_argument('--ann-file', default='annotations/instances_val2014.json', help='annotations below the root')
    parser.add_argument('--img-dir', default='val2014', help='folder of the images below the root')
    parser.add_argument('--mask-dir', help='folder of the PNGs below the root (default annotations/<img-dir>)')
    parser.add_argument('--crowd', choices=CROWD, default='foreground', help='what crowd regions are')
    return parser


def main() -> None:
    """Run the command."""
    args = make_parser().parse_args()
    # It takes seconds to import, so the arguments come first.
    from mmfss.converters.dataset_files import run_dataset_converter
    from ..runs.dataset_converters.coco_masks import convert
    run_dataset_converter(convert, args)


if __name__ == '__main__':
    main()

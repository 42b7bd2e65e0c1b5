"""Cut DeepGlobe land cover into the tiles and class masks of the cross-domain benchmark.

SRC holds <id>_sat.jpg and <id>_mask.png (the training part of the challenge, 803 images of 2448 x 2448 pixels). Each is
cut into 6 x 6 tiles; a tile counts if its mask has more than one colour and each covers more than 4.8 %. OUT gets
image/<id>_sat_<ij>.jpg and filter_mask/<1..6>/<id>_mask_<ij>.png of the tiles that count, as
mmfss.datasets.DeepGlobeIndex reads them, and deepglobe.json, the pixels of each class in each tile.

--variant released does what the script released with DMTNet does: it mistakes the colour of water, so that class 5 gets
no mask. The default gives water its masks.

A run that was interrupted continues where it stopped.
"""
import argparse
from pathlib import Path

from mmfss.utils.defaults import DEEPGLOBE_VARIANTS


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', type=Path, help='the folder of <id>_sat.jpg and <id>_mask.png')
    parser.add_argument('out', type=Path, help='the folder to make, e.g. data/Deepglobe')
    parser.add_argument('--variant', choices=DEEPGLOBE_VARIANTS, default='rgb', help='class colours (default rgb)')
    parser.add_argument('--quality', type=int, default=95, help='JPEG quality of the tiles (default 95)')
    parser.add_argument('--jobs', type=int, default=2, help='images at a time; each takes about 50 MB (default 2)')
    return parser


def main() -> None:
    """Run the command."""
    args = make_parser().parse_args()
    # It takes seconds to import, so the arguments come first.
    from mmfss.converters.dataset_files import run_dataset_converter
    from ..runs.dataset_converters.deepglobe import convert
    run_dataset_converter(convert, args)


if __name__ == '__main__':
    main()

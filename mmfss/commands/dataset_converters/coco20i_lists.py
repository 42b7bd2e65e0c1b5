"""Build COCO-20i split lists from the annotations, for use where the published lists are not at hand.

Rule: an image is listed for each class that covers at least --min-pixels of its pixels (union of the objects); images
are ordered by name. Results on such lists do not compare with papers. Reads what mmfss.datasets.COCO20iDataset
documents; writes {trn,val}.json for all folds, or with --format pkl {trn,val}/fold{0..3}.pkl as the published lists are
stored.
"""
import argparse
from pathlib import Path

from mmfss.utils.defaults import MIN_PIXELS


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', help='the COCO 2014 folder')
    parser.add_argument('out_dir', type=Path, help='folder of the lists, e.g. data/splits/coco')
    parser.add_argument('--masks', choices=('json', 'png'), default='json', help='instances files or class-number PNGs')
    parser.add_argument('--format', choices=('json', 'pkl'), default='json', help='form of the lists')
    parser.add_argument('--min-pixels', type=int, default=MIN_PIXELS, help=f'smallest object (default {MIN_PIXELS})')
    return parser


def main() -> None:
    """Run the command."""
    args = make_parser().parse_args()
    # It takes seconds to import, so the arguments come first.
    from mmfss.converters.dataset_files import run_dataset_converter
    from ..runs.dataset_converters.coco20i_lists import convert
    run_dataset_converter(convert, args)


if __name__ == '__main__':
    main()

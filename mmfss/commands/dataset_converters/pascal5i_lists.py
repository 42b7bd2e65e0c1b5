"""Build PASCAL-5i split lists from the masks, for use where the published lists are not at hand.

Rule: an image of the image set (trainaug for training, val for validation) is listed for each class that covers at
least --min-pixels pixels of its mask; lines are ordered by image, then by class. Results on such lists do not compare
with papers. Reads what mmfss.datasets.Pascal5iDataset documents; writes {trn,val}/fold{0..3}.txt.
"""
import argparse
from pathlib import Path

from mmfss.utils.defaults import MIN_PIXELS, VOC_IMAGE_SETS


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', help='the VOC2012 folder')
    parser.add_argument('out_dir', type=Path, help='folder of the lists, e.g. data/splits/pascal')
    parser.add_argument('--mask-dir', default='SegmentationClassAug', help='folder of the masks below the root')
    parser.add_argument('--train-set', default=VOC_IMAGE_SETS['train'], help='image set for training')
    parser.add_argument('--val-set', default=VOC_IMAGE_SETS['val'], help='image set for validation')
    parser.add_argument('--min-pixels', type=int, default=MIN_PIXELS, help=f'smallest object (default {MIN_PIXELS})')
    return parser


def main() -> None:
    """Run the command."""
    args = make_parser().parse_args()
    # It takes seconds to import, so the arguments come first.
    from mmfss.converters.dataset_files import run_dataset_converter
    from ..runs.dataset_converters.pascal5i_lists import convert
    run_dataset_converter(convert, args)


if __name__ == '__main__':
    main()

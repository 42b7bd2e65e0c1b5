"""Sort the images of ISIC 2018, task 1, into class folders: 1 nevus, 2 melanoma, 3 seborrheic keratosis.

SRC holds ISIC2018_Task1-2_Training_Input/ISIC_<7 digits>.jpg and
ISIC2018_Task1_Training_GroundTruth/ISIC_<7 digits>_segmentation.png as downloaded. --csv is class_id.csv of the
cross-domain benchmark, columns ID and Class, 2594 rows. OUT gets the layout that mmfss.datasets.ISICIndex reads.

--variant released does what the script released with DMTNet does: it looks for "seborrheic keratosis", which the CSV
writes with an underscore, so that class 3 stays empty.

A run that was interrupted continues where it stopped.
"""
import argparse
from pathlib import Path

VARIANTS = ('fixed', 'released')


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', type=Path, help='the folder of the two downloaded folders')
    parser.add_argument('out', type=Path, help='the folder to make, e.g. data/ISIC; SRC itself will do')
    parser.add_argument('--csv', type=Path, help='the class of each image (default SRC/class_id.csv)')
    parser.add_argument('--variant', choices=VARIANTS, default='fixed', help='known class names (default fixed)')
    parser.add_argument('--link', action='store_true', help='make hard links instead of copies')
    return parser


def main() -> None:
    """Run the command."""
    args = make_parser().parse_args()
    # It takes seconds to import, so the arguments come first.
    from mmfss.converters.dataset_files import run_dataset_converter
    from ..runs.dataset_converters.isic import convert
    run_dataset_converter(convert, args)


if __name__ == '__main__':
    main()

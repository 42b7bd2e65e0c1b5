"""Put the chest X-rays of Montgomery County and Shenzhen into the layout of the cross-domain benchmark.

--montgomery is MontgomerySet as published, with CXR_png and ManualMask/{leftMask,rightMask}; a mask is the union of
both lungs. --shenzhen is the folder of its images CHNCXR_<4 digits>_<0|1>.png, --shenzhen-masks that of the masks
CHNCXR_<4 digits>_<0|1>_mask.png, which are published separately; images without a mask are left out. OUT gets CXR_png
and masks (138 + 566 of each), which mmfss.datasets.LungIndex reads.

A run that was interrupted continues where it stopped.
"""
import argparse
from pathlib import Path


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='the folder to make, e.g. data/LungSegmentation')
    parser.add_argument('--montgomery', type=Path, required=True, help='the folder MontgomerySet')
    parser.add_argument('--shenzhen', type=Path, required=True, help='the folder of the images CHNCXR_*.png')
    parser.add_argument('--shenzhen-masks', type=Path, required=True, help='the folder of the masks CHNCXR_*_mask.png')
    parser.add_argument('--link', action='store_true', help='make hard links instead of copies')
    return parser


def main() -> None:
    """Run the command."""
    args = make_parser().parse_args()
    # It takes seconds to import, so the arguments come first.
    from mmfss.converters.dataset_files import run_dataset_converter
    from ..runs.dataset_converters.lung import convert
    run_dataset_converter(convert, args)


if __name__ == '__main__':
    main()

"""Cut the volumes of the ISBI 2012 electron microscopy challenge into slices, 20 to train and 10 to validate.

The slices to validate on are drawn with NumPy's seed 42. Files: train-volume.tif and train-labels.tif (30 slices of
512 x 512; labels 0 membrane, 255 cell).

Example:
    python tools/dataset_converters/isbi_em.py DOWNLOADS data/isbi_em
"""
import argparse
from pathlib import Path


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', type=Path, help='folder of the two TIFF files')
    parser.add_argument('dst', type=Path, help='folder to write')
    return parser


def main() -> None:
    """Run the command."""
    args = make_parser().parse_args()
    # It takes seconds to import, so the arguments come first.
    from mmfss.converters.dataset_files import run_dataset_converter
    from ..runs.dataset_converters.isbi_em import convert
    run_dataset_converter(convert, args)


if __name__ == '__main__':
    main()

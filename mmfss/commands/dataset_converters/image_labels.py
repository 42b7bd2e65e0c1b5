"""List the classes in each mask of a folder, as image-level labels: a CSV file with the columns image,labels.

A PartialLabelDataset reads it (image_labels=FILE). Void (255) and the background (0) are not listed.
"""
import argparse
from pathlib import Path


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('masks', type=Path, help='folder of PNGs with class numbers')
    parser.add_argument('out', type=Path, help='the CSV file to write')
    parser.add_argument('--dataset', default='PascalVOCDataset',
                        help='type of the dataset whose classes are numbered; default: PascalVOCDataset')
    return parser


def main() -> None:
    """Run the command."""
    args = make_parser().parse_args()
    # It takes seconds to import, so the arguments come first.
    from mmfss.converters.dataset_files import run_dataset_converter
    from ..runs.dataset_converters.image_labels import convert
    run_dataset_converter(convert, args)


if __name__ == '__main__':
    main()

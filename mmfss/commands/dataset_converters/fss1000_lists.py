"""Build FSS-1000 split lists from the category folders, for use where the published lists are not at hand.

Rule: the categories in sorted order, cut at 52 % and 76 % (520, 240, 240 of a thousand). Results on such lists do not
compare with papers. Writes {trn,val,test}.txt.
"""
import argparse
from pathlib import Path


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', help='the folder of the categories')
    parser.add_argument('out_dir', type=Path, help='folder of the lists, e.g. data/splits/fss')
    return parser


def main() -> None:
    """Run the command."""
    args = make_parser().parse_args()
    # It takes seconds to import, so the arguments come first.
    from mmfss.converters.dataset_files import run_dataset_converter
    from ..runs.dataset_converters.fss1000_lists import convert
    run_dataset_converter(convert, args)


if __name__ == '__main__':
    main()

"""Build FSS-1000 split lists from the category folders, for use where the published lists are not at hand.

Rule: the categories in sorted order, cut at 52 % and 76 % (520, 240, 240 of a thousand). Results on such lists do not
compare with papers. Writes {trn,val,test}.txt.
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
from pathlib import Path

from mmfss.converters.dataset_files import run_dataset_converter
from mmfss.datasets import FSS1000Dataset, FSS1000Index
from mmfss.datasets.folder_datasets import cut_categories
from mmfss.datasets.split_lists import write_fss_list


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', help='the folder of the categories')
    parser.add_argument('out_dir', type=Path, help='folder of the lists, e.g. data/splits/fss')
    return parser


def convert(args: argparse.Namespace) -> None:
    """Run the tool."""
    for split, names in cut_categories(FSS1000Index(args.data_root).classes).items():
        path = args.out_dir / f'{FSS1000Dataset.PARTS[split]}.txt'
        write_fss_list(names, path)
        print(f'{path}: {len(names)} categories')


if __name__ == '__main__':
    run_dataset_converter(make_parser(), convert)

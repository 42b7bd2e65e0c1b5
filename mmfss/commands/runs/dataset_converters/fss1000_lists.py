"""Work of :mod:`mmfss.commands.dataset_converters.fss1000_lists`."""
import argparse

from mmfss.datasets import FSS1000Dataset, FSS1000Index
from mmfss.datasets.folder_datasets import cut_categories
from mmfss.datasets.split_lists import write_fss_list


def convert(args: argparse.Namespace) -> None:
    """Convert, with parsed arguments."""
    for split, names in cut_categories(FSS1000Index(args.data_root).classes).items():
        path = args.out_dir / f'{FSS1000Dataset.PARTS[split]}.txt'
        write_fss_list(names, path)
        print(f'{path}: {len(names)} categories')

"""Read every image and mask of a dataset once and list all faults: before a long training, or after it met one.

Reported are files that cannot be read or are cut off, images of 16 bits and other modes that training refuses, masks of
another size than their image, masks with unknown values or without the object, listed files that do not exist, images
without a mask, and classes with too few images. The exit status is 1 if there is a fault.

Example:
    python tools/analysis_tools/check_dataset.py configs/dcama/resnet50_pascal5i_fold0.py
    python tools/analysis_tools/check_dataset.py data/my_data
"""
import argparse
from pathlib import Path

from .arguments import ConfigFile, add_options, check_arguments, run_command

SPLITS = ('train', 'val', 'test')


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=ConfigFile,
                        help='config file, name of a model, folder of class folders, or one class folder')
    parser.add_argument('--splits', nargs='+', choices=SPLITS, default=SPLITS,
                        help='loaders of the config; default: all')
    parser.add_argument('--shots', type=int, default=1, help='of a folder: supports of each class; default: 1')
    parser.add_argument('--jobs', type=int, help='processes that read; default: the cores of this process')
    parser.add_argument('--out', type=Path, help='faults as JSON; default: work_dirs/check_dataset/<name>.json')
    add_options(parser)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.check_dataset import run
    run_command(run, args)


if __name__ == '__main__':
    main()

"""Download datasets, published split lists, and the weights that a config names.

Everything comes from its publisher's address. A download that was cut continues where it stopped, checksums are
compared where they are published, and archives are unpacked into the layout that the configs expect. Without a name,
the datasets are listed.

Examples:
    mmfss download voc2012 sbd splits
    mmfss download coco2014 fss1000 lvis --data-root /data
    mmfss download configs/dcama/swinb_coco20i_fold0.py
"""
import argparse
from pathlib import Path

from .arguments import run_command


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help='dataset; "splits" for the published split lists; '
                        'name of a model or config file for its weights')
    parser.add_argument('--data-root', type=Path, default=Path('data'), help='folder of all datasets; default: data')
    parser.add_argument('--keep-archives', action='store_true', help='do not delete archives that were unpacked')
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    args = parse_args()
    # It takes seconds to import, so the arguments come first.
    from .runs.download import run
    run_command(run, args)


if __name__ == '__main__':
    main()

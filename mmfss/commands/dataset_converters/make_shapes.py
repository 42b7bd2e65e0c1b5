"""Make the embedded shapes dataset before its first use does, and optionally a page of samples.

mmfss.datasets.ShapesIndex describes layout and meaning. The same numbers give the same dataset.
"""
import argparse
from pathlib import Path

from mmfss.utils.defaults import SHAPES_SEED, SHAPES_SIDE, SHAPES_TRAIN, SHAPES_VAL


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('data_root', nargs='?', default='data/shapes', help='folder to make')
    parser.add_argument('--num-train', type=int, default=SHAPES_TRAIN, help='images of the train part')
    parser.add_argument('--num-val', type=int, default=SHAPES_VAL, help='images of the val part')
    parser.add_argument('--side', type=int, default=SHAPES_SIDE, help='side of the images in pixels')
    parser.add_argument('--seed', type=int, default=SHAPES_SEED, help='seed of everything that is chance')
    parser.add_argument('--preview', type=Path, help='also write a page of the first val images to this file')
    return parser


def main() -> None:
    """Run the command."""
    args = make_parser().parse_args()
    # It takes seconds to import, so the arguments come first.
    from mmfss.converters.dataset_files import run_dataset_converter
    from ..runs.dataset_converters.make_shapes import convert
    run_dataset_converter(convert, args)


if __name__ == '__main__':
    main()

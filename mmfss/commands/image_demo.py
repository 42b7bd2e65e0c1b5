"""Segment pictures by the example of annotated ones: ``mmfss predict`` with config and checkpoint as positions.

Example:
    python demo/image_demo.py QUERY --support IMAGE MASK [--support IMAGE MASK ...] --out-dir DIR
    python demo/image_demo.py QUERY CONFIG CHECKPOINT --support IMAGE MASK
"""
import argparse
from pathlib import Path

from mmfss.utils.defaults import DEFAULT_MODEL
from .arguments import add_optional_checkpoint, run_command
from .predict import add_examples


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Segment pictures by the example of annotated ones.')
    parser.add_argument('query', type=Path, help='picture, or folder of pictures')
    parser.add_argument('config', nargs='?', default=DEFAULT_MODEL,
                        help=f'config file of the model, or its name in the model zoo; default: {DEFAULT_MODEL}, which '
                        'needs no training and no checkpoint')
    add_optional_checkpoint(parser)
    parser.add_argument('--out-dir', type=Path, dest='out', default=Path('outputs'),
                        help='folder of the results; default: outputs')
    add_examples(parser)
    parser.set_defaults(support_dir=None, classes=[])
    args = parser.parse_intermixed_args()
    if bool(args.support) == bool(args.class_support):
        parser.error('give examples of one class by --support, or of named classes by --class-support')
    return args


def main() -> None:
    """Run the command."""
    args = parse_args()
    # It takes seconds to import, so the arguments come first.
    from .runs.predict import run
    run_command(run, args)


if __name__ == '__main__':
    main()

"""Segment pictures by the example of annotated ones: ``mmfss predict`` with config and checkpoint as positions.

Example:
    python demo/image_demo.py QUERY --support IMAGE MASK [--support IMAGE MASK ...] --out DIR
    python demo/image_demo.py QUERY CONFIG CHECKPOINT --support IMAGE MASK
"""
import argparse

from mmfss.utils.defaults import DEFAULT_MODEL
from .arguments import ConfigName, InputPath, add_optional_checkpoint, check_arguments, run_command
from .predict import add_examples, add_out


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Segment pictures by the example of annotated ones.')
    parser.add_argument('query', type=InputPath, help='picture, or folder of pictures')
    parser.add_argument('config', nargs='?', type=ConfigName, default=DEFAULT_MODEL,
                        help=f'config file of the model, or its name in the model zoo; default: {DEFAULT_MODEL}, which '
                        'needs no training and no checkpoint')
    add_optional_checkpoint(parser)
    add_out(parser)
    add_examples(parser)
    parser.set_defaults(support_dir=None, classes=[])
    args = parser.parse_intermixed_args()
    if bool(args.support) == bool(args.class_support):
        parser.error('give examples of one class by --support, or of named classes by --class-support')
    return args


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.predict import run
    run_command(run, args)


if __name__ == '__main__':
    main()

"""Segment pictures by the example of annotated ones: ``mmfss predict`` with config and checkpoint as positions.

Results are written as they come and listed in results.json. Pictures that cannot be read are listed at the end; then
the exit status is 1.

Example:
    python demo/image_demo.py QUERY --support IMAGE MASK [--support IMAGE MASK ...] --out-dir DIR
    python demo/image_demo.py QUERY CONFIG CHECKPOINT --support IMAGE MASK
"""
import argparse
from pathlib import Path

from mmfss.utils.defaults import DEFAULT_MODEL
from .arguments import add_device, add_optional_checkpoint, add_options, add_region, add_upright, run_command


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Segment pictures by the example of annotated ones.')
    parser.add_argument('query', type=Path, help='picture, or folder of pictures')
    parser.add_argument('config', nargs='?', default=DEFAULT_MODEL,
                        help='config file of the model, or its name in the model zoo; default: %(default)s, which '
                        'needs no training and no checkpoint')
    add_optional_checkpoint(parser)
    parser.add_argument('--support', nargs=2, action='append', default=[], metavar=('IMAGE', 'MASK'),
                        help='an example: a picture and its mask of equal size (black: background); repeatable')
    parser.add_argument('--class-support', nargs=3, action='append', default=[], metavar=('CLASS', 'IMAGE', 'MASK'),
                        help='an example of a named class, to segment several classes at once; repeatable')
    parser.add_argument('--out-dir', type=Path, dest='out', default=Path('outputs'),
                        help='folder of the results; default: outputs')
    parser.set_defaults(support_dir=None, classes=[], invert=False)
    parser.add_argument('--ignore-value', type=int, help='value in masks of pixels to leave out')
    add_upright(parser)
    parser.add_argument('--max-pixels', type=int, metavar='N',
                        help='largest picture to read; default: $MMFSS_MAX_PIXELS, else 89 million pixels')
    parser.add_argument('--explain', metavar='EXPLAINER',
                        help='also draw which pixels of the examples made each prediction, e.g. signed_affex')
    add_region(parser)
    add_device(parser, batch_size=4)
    add_options(parser)
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

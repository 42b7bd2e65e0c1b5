"""Segment own photographs by the example of annotated ones.

Results are written as they come and listed in results.json. Pictures that cannot be read are listed at the end; then
the exit status is 1. ``supports.png`` shows the examples as they were read.

Example:
    mmfss predict QUERY --support-dir DIR [--class NAME] [--explain]
"""
import argparse
from pathlib import Path

from mmfss.utils.defaults import DEFAULT_MODEL
from .arguments import (
    CheckpointName,
    ConfigName,
    InputPath,
    add_device,
    add_options,
    add_region,
    add_upright,
    check_arguments,
    run_command,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Segment own photographs by the example of annotated ones.',
        epilog='In place of a mask, --support and --class-support take a file of LabelMe, COCO or YOLO polygons.')
    parser.add_argument('query', type=InputPath, help='picture, or folder of pictures')
    add_support_folder(parser)
    parser.add_argument('--config', type=ConfigName, default=DEFAULT_MODEL, help='config file of the model, or its '
                        'name in the model zoo; default: %(default)s, which needs no training and no checkpoint')
    parser.add_argument('--checkpoint', type=CheckpointName, metavar='FILE', help='checkpoint file or address, unless '
                        'the model needs none')
    add_out(parser)
    add_examples(parser)
    args = parser.parse_args()
    check_examples(parser, args)
    return args


def add_support_folder(parser: argparse.ArgumentParser) -> None:
    """Add ``--support-dir`` and ``--class``.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument('--support-dir', type=InputPath, metavar='DIR',
                        help='folder of examples: images/ and masks/ with files of equal names, or such a pair in a '
                        'folder of each class, or pictures with LabelMe, COCO or YOLO annotations')
    parser.add_argument('--class', dest='classes', action='append', default=[], metavar='NAME',
                        help='class of --support-dir to segment; default: all, but annotation files of several classes '
                        'need a choice; repeatable')


def check_examples(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with an error unless examples are given in one way."""
    if sum(map(bool, (args.support_dir, args.support, args.class_support))) != 1:
        parser.error('give examples in one way: a folder by --support-dir, examples of one class by --support, or of '
                     'named classes by --class-support')
    if args.classes and not args.support_dir:
        parser.error('--class chooses classes of --support-dir')


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add ``--out``.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument('--out', type=Path, default=Path('outputs'), metavar='DIR',
                        help='folder of the results; default: outputs')
    parser.add_argument('--out-dir', type=Path, dest='out', help=argparse.SUPPRESS)


def add_examples(parser: argparse.ArgumentParser) -> None:
    """Add the options of examples, of reading pictures and of explanations.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    add_supports(parser)
    parser.add_argument('--presence', type=Path, metavar='FILE',
                        help='calibration of presence scores, a file of tools/analysis_tools/presence.py')
    parser.add_argument('--presence-threshold', type=float, metavar='P',
                        help='a class that is present with a lower probability gets an empty mask; needs --presence')
    parser.add_argument('--explain', nargs='?', const='signed_affex', metavar='EXPLAINER',
                        help='also draw which pixels of the examples made each prediction; default: signed_affex')
    add_region(parser)
    add_device(parser, batch_size=4)
    add_options(parser)


def add_supports(parser: argparse.ArgumentParser) -> None:
    """Add the options of examples and of reading pictures.

    Args:
        parser (ArgumentParser): The parser, extended in place.
    """
    parser.add_argument('--support', nargs=2, action='append', default=[], metavar=('IMAGE', 'MASK'),
                        help='an example: a picture and its mask of equal size (black: background); repeatable')
    parser.add_argument('--class-support', nargs=3, action='append', default=[], metavar=('CLASS', 'IMAGE', 'MASK'),
                        help='an example of a named class, to segment several classes at once; repeatable')
    parser.add_argument('--negative', nargs=2, action='append', metavar=('IMAGE', 'MASK'),
                        help='a picture and a mask of what is not meant, which takes pixels away; repeatable')
    parser.add_argument('--invert', action='store_true', help='exchange object and background of all masks')
    parser.add_argument('--ignore-value', type=int, help='value in masks of pixels to leave out')
    add_upright(parser)
    parser.add_argument('--max-pixels', type=int, metavar='N',
                        help='largest picture to read; default: $MMFSS_MAX_PIXELS, else 89 million pixels')


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.predict import run
    run_command(run, args)


if __name__ == '__main__':
    main()

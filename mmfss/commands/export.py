"""Write a model and its examples as one file that needs neither examples nor this package.

A script that runs it on a picture is written beside it.

Example:
    mmfss export CONFIG [CHECKPOINT] --support-dir DIR --out cats.onnx
"""
import argparse
from pathlib import Path

from .arguments import add_options, add_usable_model, run_command
from .predict import add_support_folder, add_supports, check_examples


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write a model and its examples as one ordinary segmentation model: ONNX, or a program of '
        'torch.export. It takes normalized pictures of one size, any number at a time. The written file is run and '
        'compared with PyTorch.',
        epilog='In place of a mask, --support and --class-support take a file of LabelMe, COCO or YOLO polygons.')
    add_usable_model(parser)
    add_support_folder(parser)
    add_supports(parser)
    parser.add_argument('--out', type=Path, required=True, metavar='FILE',
                        help='file to write: its suffix .onnx or .pt2 (torch.export) chooses the format')
    parser.add_argument('--opset', type=int, default=18, help="version of ONNX's operators; default: 18")
    parser.add_argument('--tolerance', type=float, default=1e-3, metavar='T',
                        help='largest difference of a logit from PyTorch that is accepted; default: 0.001')
    add_options(parser)
    args = parser.parse_intermixed_args()
    check_examples(parser, args)
    if args.out.suffix not in ('.onnx', '.pt2'):
        parser.error(f'--out {args.out}: name a file with the suffix .onnx or .pt2')
    return args


def main() -> None:
    """Run the command."""
    args = parse_args()
    # It takes seconds to import, so the arguments come first.
    from .runs.export import run
    run_command(run, args)


if __name__ == '__main__':
    main()

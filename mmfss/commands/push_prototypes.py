"""Push the prototypes of a checkpoint: replace each by its nearest training feature, and show where it comes from.

The options are those of the config's PrototypePushHook; without a dataset of its own, the training images are pushed.

Example:
    python tools/push_prototypes.py configs/scaleprotoseg/resnet18_shapes_stage1.py iter_800.pth --out work_dirs/push
"""
import argparse
from pathlib import Path

from .arguments import add_common_arguments, add_model, check_arguments, run_command


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model(parser, 'config of stage 1', 'checkpoint of its joint phase')
    parser.add_argument('--out', type=Path, help='folder to write to; default: <work dir>/push')
    parser.add_argument('--no-pictures', action='store_true', help='do not draw the sources')
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.push_prototypes import run
    run_command(run, args)


if __name__ == '__main__':
    main()

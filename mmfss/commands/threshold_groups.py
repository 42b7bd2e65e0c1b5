"""Set the small group weights of a stage-2 model to 0 and report how sparse the groups are.

Example:
    python tools/threshold_groups.py configs/scaleprotoseg/resnet18_shapes_stage2.py iter_300.pth thresholded.pth
"""
import argparse
from pathlib import Path

from .arguments import add_common_arguments, add_model, check_arguments, run_command


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model(parser, 'config of stage 2', 'checkpoint of stage 2')
    parser.add_argument('dst', type=Path, help='file to write, not *.json; the report goes beside it')
    parser.add_argument('--threshold', type=float, default=0.05, help='smallest weight that stays; default: 0.05')
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.threshold_groups import run
    run_command(run, args)


if __name__ == '__main__':
    main()

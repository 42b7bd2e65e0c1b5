"""Calibrate scores of whether a class is in a query at all, and measure them on the tested classes.

Example:
    python tools/analysis_tools/presence.py 'configs/prototype/efficientnet-lite2_voc417_fold{1..3}.py' --out presence
"""
import argparse
from pathlib import Path

from .arguments import ConfigPattern, add_device, add_options, check_arguments, run_command


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Judge by the features whether queries show the class of their supports. For each config, the '
        'score is calibrated on validation episodes, which must show training classes, and measured on test episodes: '
        'the AUC of right against wrong classes, beside the largest foreground probability and the predicted area.')
    parser.add_argument('paths', nargs='+', type=ConfigPattern, metavar='CONFIG|CHECKPOINT',
                        help='config files (.py) or names of models and, in the same order, their checkpoints; none '
                        'for a model that needs no training; braces as in "x_fold{0..3}.py"')
    parser.add_argument('--shots', type=int, metavar='K', help='supports of a class; default: those of the config')
    parser.add_argument('--episodes', type=int, help='episodes of each kind; default: those of the config')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/presence'),
                        help='folder of <config>.json, the calibrations, and table.md; default: work_dirs/presence')
    add_device(parser, batch_size=4)
    add_options(parser, help='change keys of every config')
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.presence import run
    run_command(run, args)


if __name__ == '__main__':
    main()

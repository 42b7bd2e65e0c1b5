"""Draw the episodes of a config: the query and its supports with their masks, as the model receives them.

Example:
    python tools/analysis_tools/browse_episodes.py configs/dcama/resnet50_pascal5i_fold0.py --num 8 --out episodes
"""
import argparse
from pathlib import Path

from .arguments import CONFIG, ConfigFile, add_options, check_arguments, run_command


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', type=ConfigFile, help=CONFIG)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/episodes'), metavar='DIR',
                        help='folder of the pictures; default: work_dirs/episodes')
    parser.add_argument('--output-dir', type=Path, dest='out', help=argparse.SUPPRESS)
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='test', help='loader of the config')
    parser.add_argument('--num', type=int, default=16, help='number of episodes')
    parser.add_argument('--start', type=int, default=0, help='index of the first episode')
    add_options(parser)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.browse_episodes import run
    run_command(run, args)


if __name__ == '__main__':
    main()

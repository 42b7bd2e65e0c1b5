"""Show which episodes of a test went well: IoU by class and by object size, and a page of the best and the worst.

Example:
    python tools/analysis_tools/analyze_episodes.py work_dirs/NAME/episodes.csv [--config CONFIG] --out DIR
"""
import argparse
from pathlib import Path

from .arguments import CheckpointName, ConfigFile, check_arguments, run_command


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw IoU by class and by object size, and a page of the best and the '
                                     'worst episodes of a test.')
    parser.add_argument('episodes', type=Path, metavar='EPISODES_CSV', help='episodes.csv, which tools/test.py writes '
                        'beside its results')
    parser.add_argument('--config', type=ConfigFile, help='config of the test, or its name in the model zoo, to show '
                        'the pictures of the episodes')
    parser.add_argument('--checkpoint', type=CheckpointName, metavar='FILE', help='with --config: also draw what this '
                        'model predicts; none for a model that needs no training')
    parser.add_argument('--count', type=int, default=8, help='best and worst episodes on the page; default: 8')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: a GPU if there is one')
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder of the results; default: "analysis" beside the '
                        'file')
    args = parser.parse_args()
    if args.checkpoint and not args.config:
        parser.error('--checkpoint is that of a --config: name it too')
    if args.count < 1:
        parser.error(f'--count must be 1 or more, got {args.count}')
    return args


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.analyze_episodes import run
    run_command(run, args)


if __name__ == '__main__':
    main()

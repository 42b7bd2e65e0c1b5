"""Test a model: ``python tools/test.py CONFIG CHECKPOINT``."""
import argparse
from pathlib import Path

from .arguments import (
    ConfigFile,
    add_common_arguments,
    add_episodes,
    add_shots,
    add_usable_model,
    check_arguments,
    run_command,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a few-shot segmentation model on episodes of unseen classes.')
    add_usable_model(parser)
    parser.add_argument('--test-data', type=ConfigFile, metavar='FILE', help='test on the data of another config '
                        'file, e.g. configs/_base_/datasets/lvis92i.py, through the own pipeline; default: that of '
                        'the config')
    add_shots(parser)
    add_episodes(parser)
    parser.add_argument('--out', type=Path, help='results as JSON; default: results_<N>way_<K>shot_seed<S>.json in '
                        'the working directory')
    parser.add_argument('--threshold-from', type=Path, metavar='FILE',
                        help='take model.threshold from choices.json of tools/analysis_tools/choose_threshold.py, '
                        'where it was chosen on other classes than those tested; default: from the config')
    parser.add_argument('--presence', nargs='?', const='', metavar='FILE', help='also write to episodes.csv whether '
                        'the query shows the class at all: the mean evidence, from -2 to 2, or, with the file that '
                        'tools/analysis_tools/presence.py writes, a probability')
    parser.add_argument('--show-dir', type=Path, help='folder for pictures of the predictions')
    add_common_arguments(parser)
    return parser.parse_intermixed_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.test import run
    run_command(run, args)


if __name__ == '__main__':
    main()

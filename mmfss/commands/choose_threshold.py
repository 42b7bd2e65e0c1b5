"""Choose the threshold of a model on validation episodes, for each fold on those of the other folds.

Example:
    python tools/analysis_tools/choose_threshold.py 'configs/dcama/mobilenetv2_voc257_fold{0..3}.py' --out thresholds
    python tools/test.py configs/dcama/mobilenetv2_voc257_fold1.py CHECKPOINT --threshold-from thresholds/choices.json
"""
import argparse
from pathlib import Path

from .arguments import ConfigPattern, add_launcher, add_options, add_unsafe_load, check_arguments, run_command


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Choose model.threshold on validation episodes. With the configs of several folds of a model, fold '
        'f takes the threshold with the largest mean mIoU over the other folds, whose models are validated on the '
        'classes that they hold out; the classes that fold f tests take no part. With one config, the threshold is '
        'chosen on its own validation episodes, which must show none of the tested classes. All given models are '
        'treated alike.')
    parser.add_argument('paths', nargs='+', type=ConfigPattern, metavar='CONFIG|CHECKPOINT',
                        help='config files (.py) or names of models and, in the same order, their checkpoints: CONFIG '
                        "CHECKPOINT, several of these pairs, or 'x_fold{0..3}.py' 'y_fold{0..3}.pth' with braces (and "
                        'in checkpoints * and ?); without checkpoints, those that tools/train.py left in the working '
                        'directories')
    parser.add_argument('--episodes', type=int, help='validation episodes per fold; default: from val_dataloader')
    parser.add_argument('--seed', type=int, help='seed of the episodes; default: from val_dataloader')
    parser.add_argument('--shots', type=int, metavar='K', help='supports of a class; default: from val_dataloader')
    parser.add_argument('--step', type=float, default=0.01, help='distance between thresholds; default: 0.01')
    parser.add_argument('--curve-only', action='store_true',
                        help='write the curves without choosing a threshold; for a config whose validation episodes '
                        'show the tested classes, where no threshold may be chosen')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/thresholds'),
                        help='folder of choices.json, table.md and curves; default: work_dirs/thresholds')
    parser.add_argument('--overwrite', action='store_true', help='compute existing curves again')
    add_options(parser, help='change keys of every config')
    add_launcher(parser, 'how the processes were started, as of tools/test.py')
    add_unsafe_load(parser)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.choose_threshold import run
    run_command(run, args)


if __name__ == '__main__':
    main()

"""Test the folds of a benchmark and print the row of a paper's table, or the rows of several models.

``python tools/cross_validate.py 'configs/dcama/swinb_coco20i_fold{0..3}.py' --shots 1 5 --controls --out DIR``
"""
import argparse
from pathlib import Path

from .arguments import ConfigPattern, add_episodes, add_options, add_unsafe_load, check_arguments, run_command


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Test the folds of a benchmark and print one table row per number of shots: mIoU of each fold, '
        'their mean and population standard deviation, and the mean FB-IoU. Configs in one folder whose names differ '
        'in _fold<number> only are folds of one model; several models make several rows. Finished results are kept in '
        '--out and not repeated.')
    parser.add_argument('configs', nargs='+', type=ConfigPattern, metavar='CONFIG',
                        help="configs of the folds, or names of models; {0..3} and {a,b} are expanded, e.g. "
                        "'configs/dcama/swinb_coco20i_fold{0..3}.py' or 'dcama_swinb_coco20i_fold{0..3}'")
    parser.add_argument('--checkpoints', nargs='+', metavar='CHECKPOINT',
                        help='a checkpoint per config, in the same order; braces and the wildcards * and ? are '
                        'expanded, the newest match counts; default: the best in the working directory of each config')
    parser.add_argument('--train', action='store_true',
                        help='first train the folds whose training has not ended, or continue it (tools/train.py)')
    parser.add_argument('--amp', action='store_true', help='with --train: train in bfloat16')
    parser.add_argument('--work-dir', type=Path, dest='work_dirs', metavar='DIR',
                        help='parent of the working directories of training; default: as tools/train.py chooses them')
    parser.add_argument('--work-dirs', type=Path, help=argparse.SUPPRESS)
    parser.add_argument('--shots', type=int, nargs='+', default=[1], metavar='K',
                        help='numbers of supports; default: 1')
    add_episodes(parser, 'episodes per fold; default: from the config')
    parser.add_argument('--controls', action='store_true',
                        help='also test, on the same episodes, a copied support mask, supports of another class, and '
                        'an untrained prototype; controls of the features alone are tested once for models with equal '
                        'features')
    thresholds = parser.add_mutually_exclusive_group()
    thresholds.add_argument('--choose-threshold', action='store_true',
                            help='give every fold of every model the threshold that is best on the validation episodes '
                            'of its other folds, as tools/analysis_tools/choose_threshold.py does')
    thresholds.add_argument('--threshold-from', type=Path, metavar='FILE',
                            help='take the thresholds from choices.json of that tool; default: from the configs')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/cross_validation'),
                        help='folder of the results; default: work_dirs/cross_validation')
    parser.add_argument('--overwrite', action='store_true', help='repeat finished tests')
    add_options(parser, help='change keys of every config')
    add_unsafe_load(parser)
    args = parser.parse_args()
    if args.train and args.checkpoints:
        parser.error('--train makes its own checkpoints: leave out --checkpoints')
    return args


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.cross_validate import run
    run_command(run, args)


if __name__ == '__main__':
    main()

"""Choose support images: ``python tools/select_support.py CONFIG CHECKPOINT --shots 1 3``.

The command ranks the candidates of each class on some queries, and compares the best with random choices on other
queries. ``--folder`` takes your own pictures, ``<class>/images/*`` and ``<class>/masks/*``.
"""
import argparse
from pathlib import Path

from .arguments import add_device, add_options, add_upright, add_usable_model, check_arguments, run_command


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Rank the candidate support images of each class, by the attribution that they receive and by what '
        'the pool loses without them, and compare the chosen ones with random choices.')
    add_usable_model(parser)
    parser.add_argument('--folder', type=Path, help='folder of your own class folders, instead of the test data')
    add_upright(parser, 'masks of --folder')
    parser.add_argument('--classes', nargs='+', metavar='NAME',
                        help='names of classes, or their ids where no class is called by a number (id:3 is always '
                        'an id); default: all of the test')
    parser.add_argument('--explainer', default='masked_affex', help='for the attribution; default: masked_affex')
    add_options(parser, '--explainer-options', 'NAME.OPTION=VALUE',
                'options of the explainer, e.g. masked_affex.mask_blur_kernel_size=1')
    parser.add_argument('--shots', type=int, nargs='+', default=[1], metavar='K', help='supports to choose; default: 1')
    parser.add_argument('--pool', type=int, default=12, help='candidates of a class; default: 12')
    parser.add_argument('--queries', type=int, default=8, help='queries to rank candidates by; default: 8')
    parser.add_argument('--test-queries', type=int, default=24,
                        help='other queries to measure on; default: 24, or what a class has')
    parser.add_argument('--draws', type=int, default=20, help='random choices; default: 20')
    parser.add_argument('--seed', type=int, default=0, help='seed of images and random choices; default: 0')
    add_device(parser, batch_size=8)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/select_support'),
                        help='folder of the results; default: work_dirs/select_support')
    add_options(parser)
    return parser.parse_intermixed_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.select_support import run
    run_command(run, args)


if __name__ == '__main__':
    main()

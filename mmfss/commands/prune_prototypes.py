"""Prune the prototypes of a pushed model as ProtoSeg does, over the data of the config's PrototypePushHook.

Afterwards train the last layer again: tools/train.py CONFIG --phases last_layer --load-from DST

Example:
    python tools/prune_prototypes.py configs/scaleprotoseg/resnet18_shapes_stage1.py pushed.pth pruned.pth
"""
import argparse
from pathlib import Path

from .arguments import add_common_arguments, add_model, check_arguments, run_command


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model(parser, 'config of stage 1', 'pushed model')
    parser.add_argument('dst', type=Path, help='file to write, not *.json; a record goes beside it')
    parser.add_argument('--num-nearest', type=int, default=6, help='number of nearest images to look at')
    parser.add_argument('--min-hits', type=int, default=3, help='how many of them must show the class')
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.prune_prototypes import run
    run_command(run, args)


if __name__ == '__main__':
    main()

r"""Train a model: ``python tools/train.py CONFIG``.

A config with ``phases``, such as both stages of ScaleProtoSeg, is trained in phases, each from the result of the one
before; several such configs run one after the other. With --resume, phases that have ended are left out and the one
that was cut off continues exactly where it stopped, in the middle of the push too.

Example:
    python tools/train.py configs/dcama/swinb_coco20i_fold0.py
    python tools/train.py configs/scaleprotoseg/resnet18_shapes_stage1.py \
        configs/scaleprotoseg/resnet18_shapes_stage2.py
"""
import argparse

from .arguments import (
    CONFIG,
    CheckpointName,
    ConfigFile,
    add_common_arguments,
    add_resume_schedule,
    check_arguments,
    run_command,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', type=ConfigFile, nargs='+', metavar='config', help=f'{CONFIG}; several if they have '
                        'phases')
    parser.add_argument('--phases', nargs='+', metavar='NAME', help='only these phases; default: all')
    parser.add_argument('--load-from', type=CheckpointName, help='checkpoint that the training, or its first phase, '
                        'starts from; default: that of the config')
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CHECKPOINT',
        help='continue exactly where training stopped: from the last checkpoint of the working directory, or this one '
        '(not with phases)')
    add_resume_schedule(parser)
    parser.add_argument('--amp', action='store_true', help='train in bfloat16, on a CPU or a GPU; prototypes are '
                        'compared in float32')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate to the number of episodes in a batch of all processes')
    parser.add_argument('--seed', type=int, help='seed of initialization and dropout; default: from the config')
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.train import run
    run_command(run, args)


if __name__ == '__main__':
    main()

"""Explain what a model segments: ``python tools/explain.py CONFIG CHECKPOINT --explainer signed_affex random``.

The same command continues an interrupted run.
"""
import argparse
from pathlib import Path

from mmfss.utils.defaults import EPISODES, EXPLAINERS, METRICS, REGIONS
from .arguments import (
    add_common_arguments,
    add_episodes,
    add_options,
    add_shots,
    add_usable_model,
    check_arguments,
    run_command,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Show which support pixels made the segmentations of a model, and measure how good the '
        'explanations are. Accepts the config of any few-shot model; a config of configs/explain, which sets all '
        'options below; or one of configs/scaleprotoseg, whose predictions are decomposed into groups, prototypes and '
        'training patches. Finished episodes are kept in --out and not repeated.')
    add_usable_model(parser)
    parser.add_argument('--explainer', nargs='+', metavar='NAME',
                        help=f'explainers to compare; default: from the config, or {" ".join(EXPLAINERS)}')
    add_options(parser, '--explainer-options', 'NAME.OPTION=VALUE',
                'options of explainers, e.g. signed_affex.mask_blur_kernel_size=1')
    parser.add_argument('--metrics', nargs='+', metavar='NAME',
                        help='attribution metrics, e.g. iauc dauc miou_loss@1%% infidelity; default: those of the '
                        f'config, or {" ".join(METRICS).replace("%", "%%")}')
    parser.add_argument('--region', choices=REGIONS, help='part of the query to explain; default: from the config, '
                        'or prediction')
    add_shots(parser)
    add_episodes(
        parser, f'number of episodes, or of images; default: that of a config that explains, else {EPISODES}',
        'seed of the episodes and of explainers that draw random numbers; default: from the config')
    parser.add_argument('--sources', metavar='FILE', help='learned prototypes: the prototypes.json of the push; '
                        'default: the one of this model, beside the checkpoint or in the folders of the other phases '
                        'and configs of its training')
    parser.add_argument('--failures', type=float, metavar='IOU', help='learned prototypes: explain confusions of '
                        'classes whose IoU in an image is lower than this; default: 0.5')
    parser.add_argument('--batch-size', type=int, metavar='N', help='few-shot models: changed support images that a '
                        'metric encodes at a time; more is faster on a GPU and takes more memory; default: from the '
                        'config, or 8')
    parser.add_argument('--panels', type=int, metavar='N', help='draw the first N episodes; default: 16')
    parser.add_argument('--arrays', type=int, metavar='N',
                        help='few-shot models: store the maps of the first N episodes; default: of all')
    parser.add_argument('--out', type=Path, metavar='DIR',
                        help='folder of the results; default: explanations in the working directory')
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument('--resume', action='store_true', help='continue the run in --out; the default')
    mode.add_argument('--overwrite', action='store_true', help='start again, also over a run with other settings')
    add_common_arguments(parser)
    return parser.parse_intermixed_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.explain import run
    run_command(run, args)


if __name__ == '__main__':
    main()

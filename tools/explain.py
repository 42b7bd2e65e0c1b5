"""Explain what a model segments: ``python tools/explain.py CONFIG CHECKPOINT --explainer signed_affex random``.

The same command continues an interrupted run.
"""
import mmfss_threads  # noqa: F401  (before PyTorch)

import argparse
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import RUNNERS

import mmfss  # noqa: F401  (at the top: workers of the data loader import this file first)
from mmfss.engine.runner_setup import add_common_arguments, plain_errors, prepare_config
from mmfss.evaluation.attribution.presets import metric_configs
from mmfss.explainers import REGIONS
from mmfss.explainers.building import explainer_configs, set_explainer_options
from mmfss.explanation.choose_loop import explains_prototypes
from mmfss.prototypes.sources import source_places
from mmfss.utils.config import add_hook, set_episodes
from mmfss.utils.config_options import ConfigError, OptionsAction
from mmfss.utils.files import check_writable

LOOP, PROTOTYPE_LOOP = 'ExplanationLoop', 'PrototypeExplanationLoop'
EXPLAINERS = ['unmasked_affex', 'masked_affex', 'signed_affex', 'random']
METRICS = ['miou_loss@1%', 'miou_loss@5%']
EPISODES = 50


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Show which support pixels made the segmentations of a model, and measure how good the '
        'explanations are. Works with the config of any few-shot model, and with those of configs/explain, which say '
        'all of the below; and with those of configs/scaleprotoseg, whose predictions are taken apart into groups, '
        'prototypes and training patches. What is done is kept in --out and not done again.')
    parser.add_argument('config', type=Path, help='config file, e.g. configs/dcama/swinb_coco20i_fold0.py')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    parser.add_argument('--explainer', nargs='+', metavar='NAME',
                        help=f'explainers to compare; default: those of the config, or {" ".join(EXPLAINERS)}')
    parser.add_argument('--explainer-options', nargs='+', action=OptionsAction, default={}, metavar='NAME.OPTION=VALUE',
                        help='options of explainers, e.g. signed_affex.mask_blur_kernel_size=1')
    parser.add_argument('--metrics', nargs='+', metavar='NAME',
                        help='attribution metrics, e.g. iauc dauc miou_loss@1%% infidelity; default: those of the '
                        f'config, or {" ".join(METRICS).replace("%", "%%")}')
    parser.add_argument('--region', choices=REGIONS, help='part of the query to explain; default: that of the config, '
                        'or prediction')
    parser.add_argument('--shots', type=int, metavar='K', help='supports of each class; default: that of the config')
    parser.add_argument('--ways', type=int, metavar='N', help='classes of an episode; default: that of the config')
    parser.add_argument('--episodes', type=int,
                        help='number of episodes, or of images; default: that of a config that explains, else '
                        f'{EPISODES}')
    parser.add_argument('--seed', type=int, help='seed of the episodes and of explainers that draw random numbers; '
                        'default: that of the config')
    parser.add_argument('--sources', metavar='FILE', help='learned prototypes: the prototypes.json of the push; '
                        'default: the one of this model, beside the checkpoint or in the folders of the other phases '
                        'and configs of its training')
    parser.add_argument('--failures', type=float, metavar='IOU', help='learned prototypes: explain with what a class '
                        'of a lower IoU in an image is confused; default: 0.5')
    parser.add_argument('--panels', type=int, metavar='N', help='draw the first N episodes; default: 16')
    parser.add_argument('--out', type=Path, metavar='DIR',
                        help='folder of the results; default: explanations in the working directory')
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument('--resume', action='store_true', help='continue the run in --out; the default')
    mode.add_argument('--overwrite', action='store_true', help='start again, also over a run with other settings')
    add_common_arguments(parser)
    return parser.parse_args()


def set_explanation(cfg: Config, args: argparse.Namespace) -> None:
    """Make the config's test an explanation, as the command line wishes."""
    explains = (cfg.get('test_cfg') or {}).get('type') == LOOP
    loop: dict[str, Any] = dict(cfg.test_cfg) if explains else dict(type=LOOP, explainers=EXPLAINERS)
    for option in ('sources', 'failures'):
        if getattr(args, option) is not None:
            raise ConfigError(f'--{option} is for models with learned prototypes; "{args.config}" is a few-shot model.')
    configured = explainer_configs(loop['explainers'])
    # An explainer of the config that is asked for by name keeps its options.
    configs = explainer_configs({name: configured.get(name) for name in args.explainer or configured})
    set_explainer_options(configs, args.explainer_options)
    loop['explainers'] = configs
    for key in ('region', 'panels', 'seed'):
        if getattr(args, key) is not None:
            loop[key] = getattr(args, key)
    loop['overwrite'] = args.overwrite
    loop['out_dir'] = str(args.out or loop.get('out_dir') or Path(cfg.work_dir) / 'explanations')
    if args.metrics or not explains:
        cfg.test_evaluator = metric_configs(args.metrics or METRICS)
    # Replaced, not merged: the config's own loop may be of another type.
    cfg.pop('test_cfg', None)
    cfg.test_cfg = loop
    episodes = args.episodes if explains or args.episodes is not None else EPISODES
    set_episodes(cfg, num_shots=args.shots, num_ways=args.ways, num_episodes=episodes, seed=args.seed)


def set_prototype_explanation(cfg: Config, args: argparse.Namespace) -> None:
    """Make the test of a config of a prototype model an explanation, as the command line wishes."""
    asked = args.explainer or ['prototypes']
    if asked != ['prototypes']:
        raise ConfigError(f'--explainer {" ".join(asked)}: "{args.config}" is a model with learned prototypes, which '
                          'has no supports to attribute to. What works is --explainer prototypes.')
    for option in ('metrics', 'shots', 'ways', 'explainer_options'):
        if getattr(args, option):
            raise ConfigError(f'--{option.replace("_", "-")} is for few-shot models; "{args.config}" is one with '
                              'learned prototypes.')
    explains = (cfg.get('test_cfg') or {}).get('type') == PROTOTYPE_LOOP
    loop: dict[str, Any] = dict(cfg.test_cfg) if explains else dict(type=PROTOTYPE_LOOP)
    for key in ('region', 'panels', 'seed', 'sources', 'failures'):
        if getattr(args, key) is not None:
            loop[key] = getattr(args, key)
    if not loop.get('sources'):
        loop['sources'] = source_places(args.checkpoint, cfg.get('load_from'))
    if args.episodes is not None or not explains:
        loop['num_images'] = EPISODES if args.episodes is None else args.episodes
    loop['overwrite'] = args.overwrite
    loop['out_dir'] = str(args.out or loop.get('out_dir') or Path(cfg.work_dir) / 'explanations')
    cfg.pop('test_cfg', None)
    cfg.test_cfg, cfg.test_evaluator = loop, []


def main() -> None:
    args = parse_args()
    with plain_errors():
        cfg = prepare_config(args)
        prototypes = explains_prototypes(cfg)
        if prototypes:
            set_prototype_explanation(cfg, args)
        else:
            set_explanation(cfg, args)
        check_writable(Path(cfg.test_cfg.out_dir), 'folder', '--out')
        cfg.load_from, cfg.resume = args.checkpoint, False
        add_hook(cfg, dict(type='CheckpointGuardHook', source=args.checkpoint))
        runner = RUNNERS.build(cfg)
        runner.test()
        if runner.rank == 0:
            out = runner.test_loop.folder.root
            files = 'results.json' if prototypes else 'results.json, results.csv'
            print(f'\n{runner.test_loop.results["markdown"]}\ntable:   {out / "table.md"}, {files}\n'
                  f'browse:  {out / "index.html"}', flush=True)


if __name__ == '__main__':
    main()

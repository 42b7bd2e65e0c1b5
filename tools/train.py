"""Train a model: ``python tools/train.py CONFIG``."""
import mmfss_threads  # noqa: F401  (before PyTorch)

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

import mmfss  # noqa: F401  (at the top: workers of the data loader import this file first)
from mmfss.engine.hooks import ProgressHook
from mmfss.engine.runner_setup import (
    add_common_arguments,
    add_resume_schedule,
    plain_errors,
    prepare_config,
    print_table,
    set_resume_schedule,
)
from mmfss.utils.checkpoint import find_last_checkpoint, forget_last_checkpoint
from mmfss.utils.config import add_hook, set_seed
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import dump_json
from mmfss.utils.versions import versions

SUMMARY = 'train_summary.json'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a few-shot segmentation model.')
    parser.add_argument('config', type=Path, help='config file, e.g. configs/dcama/swinb_coco20i_fold0.py')
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CHECKPOINT',
        help='continue exactly where training stopped: from the last checkpoint of the working directory, or this one')
    add_resume_schedule(parser)
    parser.add_argument('--amp', action='store_true', help='train in bfloat16, on a CPU or a GPU')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate to the number of episodes in a batch of all processes')
    parser.add_argument('--seed', type=int, help='seed of initialisation and dropout; default: that of the config')
    add_common_arguments(parser)
    return parser.parse_args()


def apply_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Put the command line's wishes into the config.

    Raises:
        ConfigError: If the config is not for this tool, or lacks what a wish is about.
    """
    if cfg.get('phases'):
        raise ConfigError(f'"{args.config}" is trained in phases ({", ".join(cfg.phases)}): use '
                          'tools/train_scaleproto.py.')
    for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'):
        if cfg.get(key) is None:
            raise ConfigError(f'The config "{args.config}" cannot be trained: it has no {key}.')
    if args.amp:
        cfg.optim_wrapper.type = 'BFloat16OptimWrapper'
        cfg.optim_wrapper.pop('loss_scale', None)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ConfigError(f'--auto-scale-lr: "{cfg.filename}" has no auto_scale_lr.base_batch_size.')
        cfg.auto_scale_lr.enable = True
    set_seed(cfg, args.seed)
    set_resume_schedule(cfg, args.resume_schedule)
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = find_last_checkpoint(cfg.work_dir) if args.resume == 'auto' else args.resume
        if cfg.load_from is not None:
            add_hook(cfg, dict(type='CheckpointGuardHook', source=cfg.load_from))
        else:
            cfg.resume = False
            print(f'Nothing to resume in {cfg.work_dir}: training from the start.')


def begin(runner: Runner) -> None:
    """Remove what says how far a former run in this folder came."""
    (Path(runner.work_dir) / SUMMARY).unlink(missing_ok=True)
    former = None if runner.cfg.resume else forget_last_checkpoint(runner.work_dir)
    if former is not None:
        print(f'{runner.work_dir} holds a former run, which this one replaces; --resume {former} continues it instead.')


def report(runner: Runner) -> None:
    """Print and save what came out."""
    info = runner.message_hub.runtime_info
    summary = dict(
        iterations=runner.iter, best_score=info.get('best_score'), best_checkpoint=info.get('best_ckpt'),
        last_checkpoint=info.get('last_ckpt'))
    path = Path(runner.work_dir) / SUMMARY
    if runner.rank == 0:
        dump_json(dict(summary, config=runner.cfg.filename, seed=runner.seed, versions=versions()), path)
    print_table('training', [*summary.items(), ('summary', path)])


def main() -> None:
    args = parse_args()
    with plain_errors():
        cfg = prepare_config(args)
        apply_arguments(cfg, args)
        runner = RUNNERS.build(cfg)
        if runner.rank == 0:
            begin(runner)
        runner.register_hook(ProgressHook())
        runner.train()
        report(runner)


if __name__ == '__main__':
    main()

"""Choose the threshold of a model on validation episodes, for each fold on those of the other folds.

Example:
    python tools/analysis_tools/choose_threshold.py 'configs/dcama/mobilenetv2_voc257_fold{0..3}.py' --out thresholds
    python tools/test.py configs/dcama/mobilenetv2_voc257_fold1.py CHECKPOINT --threshold-from thresholds/choices.json
"""
import mmfss_threads  # noqa: F401  (before PyTorch)

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.dist import is_main_process

import mmfss  # noqa: F401  (at the top: workers of the data loader import this file first)
from mmfss.engine.cross_validation import expand_braces, expand_checkpoints, trained_checkpoint
from mmfss.engine.distributed import setup_distributed, setup_local_rank
from mmfss.engine.runner_setup import default_work_dir, plain_errors
from mmfss.engine.threshold_choice import (
    PROCEDURE,
    check_choosable,
    choose,
    model_key,
    save_choices,
    sweep,
    sweep_config,
)
from mmfss.evaluation.threshold_curve import DEFAULT, threshold_grid
from mmfss.utils.checkpoint import UNSAFE_LOAD
from mmfss.utils.config import load_config
from mmfss.utils.config_options import ConfigError, OptionsAction
from mmfss.utils.files import atomic_path, check_writable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Choose model.threshold on validation episodes. With the configs of several folds of a model, fold '
        'f takes the threshold with the largest mean mIoU over the other folds, whose models are validated on the '
        'classes that they hold out; the classes that fold f tests take no part. With one config, the threshold is '
        'chosen on its own validation episodes, which must show none of the tested classes. Every model given is '
        'treated alike.')
    parser.add_argument('paths', nargs='+', metavar='CONFIG|CHECKPOINT',
                        help='config files (.py) and, in the same order, their checkpoints: CONFIG CHECKPOINT, several '
                        "of these pairs, or 'x_fold{0..3}.py' 'y_fold{0..3}.pth' with braces (and in checkpoints * and "
                        '?); without checkpoints, those that tools/train.py left in the working directories')
    parser.add_argument('--episodes', type=int, help='validation episodes per fold; default: those of val_dataloader')
    parser.add_argument('--seed', type=int, help='seed of the episodes; default: that of val_dataloader')
    parser.add_argument('--shots', type=int, metavar='K', help='supports of a class; default: those of val_dataloader')
    parser.add_argument('--step', type=float, default=0.01, help='distance of neighbouring thresholds; default: 0.01')
    parser.add_argument('--curve-only', action='store_true',
                        help='write the curves without choosing a threshold; for a config whose validation episodes '
                        'show the tested classes, where no threshold may be chosen')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/thresholds'),
                        help='folder of choices.json, table.md and curves; default: work_dirs/thresholds')
    parser.add_argument('--overwrite', action='store_true', help='compute curves again that are there')
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction, default={}, metavar='KEY=VALUE',
                        help='change keys of every config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='how the processes were started, as of tools/test.py')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--unsafe-load', action='store_true',
                        help='also load checkpoints that hold arbitrary pickled objects; such a file can run any code')
    return parser.parse_args()


class Member(NamedTuple):
    """A config of a model, with its checkpoint."""
    config: Path
    checkpoint: Path
    cfg: Config


def collect(args: argparse.Namespace) -> dict[str, list[Member]]:
    """The configs and checkpoints of each model."""
    configs = [Path(path) for pattern in args.paths if pattern.endswith('.py') for path in expand_braces(pattern)]
    patterns = [pattern for pattern in args.paths if not pattern.endswith('.py')]
    if not configs:
        raise ConfigError(f'No config (.py) among {", ".join(args.paths)}: write CONFIG CHECKPOINT.')
    cfgs = [load_config(config, args.cfg_options) for config in configs]
    checkpoints = expand_checkpoints(patterns, len(configs)) if patterns else [*map(find_checkpoint, configs)]
    models: dict[str, list[Member]] = {}
    for member in map(Member, configs, checkpoints, cfgs):
        models.setdefault(model_key(member.config), []).append(member)
    return models


def find_checkpoint(config: Path) -> Path:
    """The checkpoint that training left."""
    found = trained_checkpoint(default_work_dir(config))
    if found is None:
        raise ConfigError(f'There is no checkpoint of {config} in "{default_work_dir(config)}": train it, or name it '
                          'behind the configs.')
    return found


def choose_for(model: str, members: list[Member], args: argparse.Namespace) -> dict[str, Any]:
    """Curves and choices of one model."""
    held_out = len(members) > 1
    sweeps = [sweep_config(member.cfg, threshold_grid(args.step), held_out, args.shots, args.episodes, args.seed)
              for member in members]
    if not args.curve_only:
        check_choosable([member.config for member in members], [member.cfg for member in members])
    curves = []
    for member, cfg in zip(members, sweeps):
        setup_distributed(cfg, args.launcher)
        name = f'{model.split("/")[0]}_{member.config.stem}'
        curves.append(sweep(cfg, member.config, member.checkpoint, args.out, name, args.overwrite))
    return dict(choices={} if args.curve_only else choose(curves), curves=curves)


def table(models: dict[str, dict[str, Any]], step: float) -> str:
    """Choices and curves as Markdown."""
    lines = []
    for name, model in models.items():
        lines += [f'{name}', '']
        if model['choices']:
            lines += [f'| fold | threshold | chosen on folds | mIoU there | at {DEFAULT} |', '|---|---:|---|---:|---:|']
            for fold, choice in model['choices'].items():
                folds = ', '.join(map(str, choice['chosen_on_folds']))
                lines.append(f'| {fold} | {choice["threshold"]:g} | {folds} | {choice["mIoU"]:.2f} | '
                             f'{choice[f"mIoU_at_{DEFAULT}"]:.2f} |')
            lines.append('')
        curves = model['curves']
        heads = ' | '.join(f'mIoU, fold {curve["fold"]}' for curve in curves)
        lines += [f'| threshold | {heads} |', '|---:|' + '---:|' * len(curves)]
        # About twenty lines of each curve.
        for place in range(0, len(curves[0]['thresholds']), max(1, round(0.05 / step))):
            values = ' | '.join(f'{curve["mIoU"][place]:.2f}' for curve in curves)
            lines.append(f'| {curves[0]["thresholds"][place]:g} | {values} |')
        lines.append('')
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    with plain_errors():
        if args.unsafe_load:
            os.environ[UNSAFE_LOAD] = '1'
        setup_local_rank(args.local_rank)
        check_writable(args.out, 'folder', '--out')
        models = {name: choose_for(name, members, args) for name, members in collect(args).items()}
        if is_main_process():
            save_choices(models, args.out / 'choices.json')
            text = f'{table(models, args.step)}\nmIoU in per cent on validation episodes. {PROCEDURE}\n'
            with atomic_path(args.out / 'table.md') as path:
                path.write_text(text, encoding='utf-8')
            print(f'{text}\nsaved as {args.out / "choices.json"} (for --threshold-from) and table.md', flush=True)


if __name__ == '__main__':
    main()

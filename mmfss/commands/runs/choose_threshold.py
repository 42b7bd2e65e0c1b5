"""Work of :mod:`mmfss.commands.choose_threshold`."""
import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple, Optional

from mmengine.config import Config
from mmengine.dist import is_main_process

from mmfss.apis.model_zoo import is_training_free
from mmfss.engine.distributed import setup_distributed, setup_local_rank
from mmfss.engine.runner_setup import default_work_dir
from mmfss.engine.threshold_loop import sweep, sweep_config
from mmfss.evaluation.threshold_choice import PROCEDURE, check_choosable, choose, model_key, save_choices
from mmfss.evaluation.threshold_curve import DEFAULT, threshold_grid
from mmfss.utils.checkpoint import UNSAFE_LOAD
from mmfss.utils.checkpoint_paths import expand_checkpoints, split_configs, trained_checkpoint
from mmfss.utils.config import load_config
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import atomic_path, check_writable


class Member(NamedTuple):
    """Hold a config of a model, with its checkpoint."""
    config: Path
    checkpoint: Optional[Path]
    cfg: Config


def collect(args: argparse.Namespace) -> dict[str, list[Member]]:
    """Collect the configs and checkpoints of each model."""
    configs, patterns = split_configs(args.paths)
    cfgs = [load_config(config, args.cfg_options) for config in configs]
    checkpoints = expand_checkpoints(patterns, len(configs)) if patterns else [*map(find_checkpoint, configs, cfgs)]
    models: dict[str, list[Member]] = {}
    for member in map(Member, configs, checkpoints, cfgs):
        models.setdefault(model_key(member.config), []).append(member)
    return models


def find_checkpoint(config: Path, cfg: Config) -> Optional[Path]:
    """Find the checkpoint that training left; None for a model that needs no training."""
    if is_training_free(cfg):
        return None
    found = trained_checkpoint(default_work_dir(config))
    if found is None:
        raise ConfigError(f'There is no checkpoint of {config} in "{default_work_dir(config)}": train it, or name it '
                          'behind the configs.')
    return found


def choose_for(model: str, members: list[Member], args: argparse.Namespace) -> dict[str, Any]:
    """Compute the curves of one model, and choose its thresholds."""
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
    """Format choices and curves as Markdown."""
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


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
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

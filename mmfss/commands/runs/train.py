"""Work of :mod:`mmfss.commands.train`."""
import argparse
from pathlib import Path
from typing import NoReturn

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mmfss.apis.model_zoo import is_training_free
from mmfss.engine.class_check import ClassCheck
from mmfss.engine.hooks import ProgressHook, TrainingPicturesHook
from mmfss.engine.phases import Phase, phases_of, result_before, train_phases
from mmfss.engine.runner_setup import (
    default_work_dir,
    prepare_config,
    print_table,
    set_resume_schedule,
)
from mmfss.engine.short_start import build_runner
from mmfss.utils.checkpoint import find_last_checkpoint, forget_last_checkpoint
from mmfss.utils.config import add_hook, load_config, set_seed
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import dump_json
from mmfss.utils.unwrap import unwrap
from mmfss.utils.versions import versions

SUMMARY = 'train_summary.json'


def apply_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Apply command-line options to the config.

    Raises:
        ConfigError: If the config cannot be trained, or lacks what an option is about.
    """
    if args.phases:
        raise ConfigError(f'--phases {" ".join(args.phases)}: the config "{args.config}" has no phases.')
    for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'):
        if cfg.get(key) is None:
            if key != 'model' and is_training_free(cfg):
                raise_nothing_to_train(cfg)
            raise ConfigError(f'The config "{args.config}" cannot be trained: it has no {key}.')
    if args.amp:
        use_bfloat16(cfg)
    apply_shared_arguments(cfg, args)
    if args.load_from is not None:
        cfg.load_from = args.load_from
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = find_last_checkpoint(cfg.work_dir) if args.resume == 'auto' else args.resume
        if cfg.load_from is not None:
            add_hook(cfg, dict(type='CheckpointGuardHook', source=cfg.load_from))
        else:
            cfg.resume, cfg.load_from = False, args.load_from
            print(f'Nothing to resume in {cfg.work_dir}: training from the start.')


def raise_nothing_to_train(cfg: Config) -> NoReturn:
    """Raise a ConfigError that says what to do with a model that is used without training."""
    command = ' '.join(('python', 'tools/test.py', str(cfg.filename)))
    raise ConfigError(f'A {cfg.model.type} with a {cfg.model.head.type} has nothing to train. Test it: {command}')


def apply_shared_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the options that mean the same with and without phases."""
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ConfigError(f'--auto-scale-lr: "{cfg.filename}" has no auto_scale_lr.base_batch_size.')
        cfg.auto_scale_lr.enable = True
    set_seed(cfg, args.seed)
    set_resume_schedule(cfg, args.resume_schedule)


def collect_phases(args: argparse.Namespace) -> list[Phase]:
    """Return the phases of all configs, with the options applied; ``args.work_dir`` becomes that of the last config.

    Raises:
        ConfigError: If a config has no phases, or none has a name that is asked for.
    """
    if args.resume not in (None, 'auto'):
        raise ConfigError(f'--resume {args.resume}: phases are resumed from their own checkpoints. Write --resume '
                          f'without a file, or --load-from {args.resume} to start from it.')
    phases: list[Phase] = []
    configs, common = args.configs, args.work_dir
    for config in configs:
        work_dir = common / config.stem if common else default_work_dir(config)
        args.config, args.work_dir = config, work_dir
        cfg = prepare_config(args)
        apply_shared_arguments(cfg, args)
        for phase in phases_of(cfg, work_dir):
            if args.amp:
                use_bfloat16(phase.cfg)
            phases.append(phase)
    names = [phase.name for phase in phases]
    unknown = sorted(set(args.phases or names) - set(names))
    if unknown:
        raise ConfigError(f'--phases {" ".join(unknown)}: the configs have {", ".join(names)}.')
    return phases


def use_bfloat16(cfg: Config) -> None:
    """Train in bfloat16, which needs no scaling of the loss."""
    cfg.optim_wrapper.type = 'BFloat16OptimWrapper'
    cfg.optim_wrapper.pop('loss_scale', None)


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


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    in_phases = any(load_config(config, args.cfg_options).get('phases') for config in args.configs)
    if not in_phases and len(args.configs) > 1:
        raise ConfigError(f'Several configs are trained together if they have phases; "{args.configs[0]}" has none.')
    train_in_phases(args) if in_phases else train(args)


def train_in_phases(args: argparse.Namespace) -> None:
    """Train the phases of all configs in order."""
    all_phases = collect_phases(args)
    phases = [phase for phase in all_phases if not args.phases or phase.name in args.phases]
    if args.load_from and '://' not in args.load_from and not Path(args.load_from).is_file():
        raise FileNotFoundError(f'The checkpoint "{args.load_from}" (--load-from) does not exist.')
    resume = args.resume is not None
    load_from = args.load_from or result_before(phases[0], all_phases, resume)
    path = args.work_dir / SUMMARY
    if is_main_process():
        path.unlink(missing_ok=True)
    outcomes = train_phases(phases, load_from, resume)
    dump_json(dict(phases=outcomes, versions=versions()), path)
    rows = [(outcome['name'], ', '.join([*(f'{name} {value:.2f}' for name, value in outcome['metrics'].items()),
                                         outcome['result']])) for outcome in outcomes]
    print_table('phases', [*rows, ('summary', path)])


def train(args: argparse.Namespace) -> None:
    """Train the model of one config."""
    args.config, = args.configs
    cfg = prepare_config(args)
    apply_arguments(cfg, args)
    ClassCheck().check(cfg)
    runner = build_runner(cfg)
    if getattr(unwrap(runner.model), 'training_free', False):
        raise_nothing_to_train(cfg)
    if runner.rank == 0:
        begin(runner)
    runner.register_hook(ProgressHook())
    runner.register_hook(TrainingPicturesHook())
    runner.train()
    report(runner)

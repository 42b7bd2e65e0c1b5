"""Work of :mod:`mmfss.commands.cross_validate`."""
import argparse
import copy
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Sequence

from mmengine.config import Config

from mmfss.apis.model_zoo import find_config, is_training_free
from mmfss.engine.cross_validation import CONTROLS, METHODS, MODEL, evaluate_methods
from mmfss.engine.runner_setup import default_work_dir
from mmfss.engine.threshold_loop import sweep, sweep_config
from mmfss.evaluation.fold_table import FoldScore, TableRow, make_rows, to_markdown
from mmfss.evaluation.threshold_choice import (
    apply_choice,
    check_choosable,
    check_not_tested,
    choose,
    load_choice,
    model_key,
    save_choices,
    validates_on_tested_classes,
)
from mmfss.evaluation.threshold_curve import threshold_grid
from mmfss.utils.checkpoint import UNSAFE_LOAD
from mmfss.utils.checkpoint_paths import expand_braces, expand_checkpoints, trained_checkpoint
from mmfss.utils.config import load_config, set_episodes
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import atomic_path, check_writable, dump_json, write_text
from mmfss.utils.stored_results import fingerprint, load_result, save_result


@dataclass
class Fold:
    """Hold a fold of a model.

    Attributes:
        config (Path): Its config file.
        cfg (Config): The config.
        model (str): Name of the model.
        name (str): Name of the files of its results.
        methods (Sequence[str]): What is tested.
        choice (dict, optional): The choice of its threshold; None for that of the config.
    """
    config: Path
    cfg: Config
    model: str
    name: str
    methods: Sequence[str]
    choice: Optional[dict[str, Any]] = None


def collect(args: argparse.Namespace) -> list[Fold]:
    """Collect the folds of all models."""
    configs = [find_config(path) for pattern in args.configs for path in expand_braces(pattern)]
    stems = [config.stem for config in configs]
    names = [stem if stems.count(stem) == 1 else f'{config.absolute().parent.name}_{stem}'
             for stem, config in zip(stems, configs)]
    if len(set(names)) < len(names):
        raise ConfigError(f'Two configs have one name: {", ".join(map(str, configs))}.')
    folds, tested_first = [], {}
    for config, name in zip(configs, names):
        cfg, model = load_config(config, args.cfg_options), model_name(config)
        methods = METHODS if args.controls else (MODEL, )
        if tested_first.setdefault(features_key(cfg), model) != model:
            methods = [method for method in methods if method not in CONTROLS]
        for shots in args.shots:  # What is asked for is refused before the training, not after it.
            set_episodes(copy.deepcopy(cfg), shots, args.ways, args.episodes, args.seed)
        choice = None if args.threshold_from is None else load_choice(args.threshold_from, cfg, config)
        folds.append(Fold(config, cfg, model, name, methods, choice))
    if args.choose_threshold:
        for group in folds_of_models(folds).values():
            for fold in group:
                sweep_config(fold.cfg, threshold_grid(), held_out=len(group) > 1)
            check_choosable([fold.config for fold in group], [fold.cfg for fold in group])
    return folds


def folds_of_models(folds: list[Fold]) -> dict[str, list[Fold]]:
    """Group the folds by model, see :func:`model_key`."""
    groups: dict[str, list[Fold]] = {}
    for fold in folds:
        groups.setdefault(model_key(fold.config), []).append(fold)
    return groups


def choose_thresholds(folds: list[Fold], checkpoints: list[Optional[Path]], args: argparse.Namespace) -> None:
    """Choose the threshold of every fold, the same way for all models; the choices are saved with the results."""
    checkpoint_of = {fold.name: checkpoint for fold, checkpoint in zip(folds, checkpoints)}
    out, models = args.out / 'thresholds', {}
    for model, group in folds_of_models(folds).items():
        curves = []
        for fold in group:
            print(f'{fold.name}: mIoU of validation episodes at every threshold', flush=True)
            cfg = sweep_config(fold.cfg, threshold_grid(), held_out=len(group) > 1)
            curves.append(sweep(cfg, fold.config, checkpoint_of[fold.name], out, fold.name, args.overwrite))
        choices = choose(curves)
        for fold, curve in zip(group, curves):
            fold.choice = dict(choices[str(curve['fold'])], file=str(out / 'choices.json'))
        models[model] = dict(choices=choices, curves=curves)
    save_choices(models, out / 'choices.json')


def model_name(config: Path) -> str:
    """Name a model by the folder of its config, and the name of the config without a fold."""
    stem, folds = re.subn(r'_fold\d+', '', config.stem)
    return '/'.join([config.absolute().parent.name] + [stem] * folds)


def features_key(cfg: Config) -> str:
    """Return a key of the features and episodes, on which the results of ``CONTROLS`` depend."""
    model = [cfg.model.get(key) for key in ('backbone', 'features', 'data_preprocessor')]
    return json.dumps([model, cfg.test_dataloader, cfg.get('test_evaluator')], sort_keys=True, default=str)


def work_dir_of(fold: Fold, args: argparse.Namespace) -> Path:
    """Return the working directory of the training of a fold."""
    return default_work_dir(fold.config) if args.work_dirs is None else args.work_dirs / fold.name


def train(fold: Fold, args: argparse.Namespace) -> None:
    """Train a fold in a process of its own, or continue; nothing if its training has ended."""
    work_dir = work_dir_of(fold, args)
    if (work_dir / 'train_summary.json').is_file():
        return
    print(f'training {fold.config} in {work_dir}', flush=True)
    changed = work_dir / fold.config.name
    with atomic_path(changed) as path:
        fold.cfg.dump(path)
    command = [sys.executable, '-m', 'mmfss.commands.train', str(changed), '--work-dir', str(work_dir), '--resume']
    finished = subprocess.run(command + ['--amp'] * args.amp + ['--unsafe-load'] * args.unsafe_load)
    if finished.returncode:
        raise ConfigError(f'Training {fold.config} failed (status {finished.returncode}), see above. The same command '
                          'continues.')


def find_checkpoints(folds: list[Fold], args: argparse.Namespace) -> list[Optional[Path]]:
    """Find a checkpoint of every fold, None for a model that needs no training; train what is missing if asked to."""
    if args.checkpoints:
        return expand_checkpoints(args.checkpoints, len(folds))
    found: list[Optional[Path]] = []
    for fold in folds:
        if is_training_free(fold.cfg):
            found.append(None)
            continue
        if args.train:
            train(fold, args)
        checkpoint = trained_checkpoint(work_dir_of(fold, args))
        if checkpoint is None:
            raise ConfigError(f'There is no checkpoint of {fold.config} in "{work_dir_of(fold, args)}": train it '
                              '(--train does), or name it with --checkpoints.')
        found.append(checkpoint)
    return found


def evaluate_fold(fold: Fold, checkpoint: Optional[Path], shots: int, args: argparse.Namespace) -> dict[str, dict]:
    """Return the results of all methods on one fold; test only what is not stored yet."""
    cfg = copy.deepcopy(fold.cfg)
    set_episodes(cfg, num_shots=shots, num_ways=args.ways, num_episodes=args.episodes, seed=args.seed)
    threshold = apply_choice(cfg, fold.choice)
    keys = {method: fingerprint(cfg, checkpoint, method) for method in fold.methods}
    if fold.choice is not None:  # An equal value from elsewhere is not the same result.
        keys = {method: dict(key, threshold=threshold['source']) for method, key in keys.items()}
    paths = {method: result_path(args.out, fold, shots, method) for method in fold.methods}
    results = {method: None if args.overwrite else load_result(paths[method], keys[method]) for method in fold.methods}
    for method, result in results.items():
        if result is not None:
            report(fold, shots, method, result, 'kept')
    missing = [method for method, result in results.items() if result is None]
    for method, result in evaluate_methods(cfg, checkpoint, missing, args.out / 'logs' / fold.name):
        check_not_tested(threshold, result['episodes'])
        used = None if method in CONTROLS else threshold
        results[method] = save_result(paths[method], dict(result, threshold=used), keys[method])
        report(fold, shots, method, result, f'{result["seconds"]} s')
    return results


def result_path(out: Path, fold: Fold, shots: int, method: str) -> Path:
    """Return the file of one result."""
    return out / 'results' / f'{fold.name}_{shots}shot_{method.replace(" ", "_")}.json'


def report(fold: Fold, shots: int, method: str, result: dict[str, Any], remark: str) -> None:
    """Print one result."""
    metrics = result['metrics']
    figures = f'mIoU {metrics["mIoU"]:.2f}, FB-IoU {metrics["FB-IoU"]:.2f}'
    print(f'{fold.name}, {shots}-shot, {method}: {figures} ({remark})', flush=True)


def summarize(results: list[tuple[Fold, int, dict[str, dict]]]) -> dict[str, Any]:
    """Make the table, and collect what must be known to read it."""
    models = list(dict.fromkeys(fold.model for fold, _, _ in results))
    column = column_names(results)
    controls_are_shared = len({fold.model for fold, _, _ in results if set(CONTROLS) & set(fold.methods)}) == 1
    # Scores, by row and column of the table
    scores = []
    for fold, shots, all_methods in results:
        for method, result in all_methods.items():
            row = method
            if len(models) > 1 and not (method in CONTROLS and controls_are_shared):
                row = fold.model if method == MODEL else f'{fold.model}, {method}'
            metrics = result['metrics']
            scores.append(FoldScore(row, shots, column[fold.name], metrics['mIoU'], metrics['FB-IoU']))
    rows = make_rows(scores)
    # What must be known to read the table
    tested = [all_methods[MODEL] for _, _, all_methods in results]
    checkpoints = {fold.name: all_methods[MODEL]['fingerprint']['checkpoint'] for fold, _, all_methods in results}
    return dict(
        rows=[row.to_dict() for row in rows],
        markdown=to_markdown(rows),
        times_best_control=times_best_control(rows) if len(models) == 1 else None,
        split_lists=sorted({result['episodes']['lists'] for result in tested}),
        not_comparable_because=sorted({reason for result in tested for reason in result['protocol']}),
        checkpoints=checkpoints,
        thresholds={fold.name: apply_choice(copy.deepcopy(fold.cfg), fold.choice) for fold, _, _ in results},
        chosen_on_tested_classes=[
            fold.name for fold in {fold.name: fold for fold, _, _ in results}.values()
            if Path(checkpoints[fold.name] or '').name.startswith('best_') and validates_on_tested_classes(fold.cfg)],
        versions=tested[0]['versions'])


def column_names(results: list[tuple[Fold, int, dict[str, dict]]]) -> dict[str, str]:
    """Name the column of each fold, by the number of the fold where numbers tell the folds of a model apart."""
    numbers = {fold.name: all_methods[MODEL]['episodes']['fold'] for fold, _, all_methods in results}
    models = {fold.name: fold.model for fold, _, _ in results}
    if None in numbers.values() or len({(models[name], numbers[name]) for name in numbers}) < len(numbers):
        return {fold.name: fold.config.stem for fold, _, _ in results}
    return {name: f'fold {number}' for name, number in numbers.items()}


def times_best_control(rows: list[TableRow]) -> Optional[dict[int, float]]:
    """Divide, for each number of shots, the mIoU of the model by that of the best control without its own supports."""
    ratios = {}
    for row in rows:
        controls = [other.mean for other in rows
                    if other.shots == row.shots and other.method in ('copied mask', 'wrong-class support')]
        if row.method == MODEL and controls:
            ratios[row.shots] = row.mean / max(*controls, 1e-9)
    return ratios or None


def write_summary(summary: dict[str, Any], out: Path) -> None:
    """Print and save the table."""
    text = summary['markdown']
    text += '\nmIoU of each fold, their mean and population standard deviation, mean FB-IoU; per cent.\n'
    text += f'Split lists: {"; ".join(summary["split_lists"])}.\n'
    if summary['not_comparable_because']:
        text += f'Not comparable with papers: {"; ".join(summary["not_comparable_because"])}.\n'
    # Thresholds, and why checkpoints may not compare
    sources: dict[str, list[str]] = {}
    for name, threshold in summary['thresholds'].items():
        if threshold is not None:
            sources.setdefault('{value:g}, {source}'.format(**threshold), []).append(name)
    for source, names in sources.items():
        text += f'Threshold of {", ".join(names)}: {source}.\n' if len(sources) > 1 else f'Threshold: {source}.\n'
    if summary['chosen_on_tested_classes']:
        names = ', '.join(summary['chosen_on_tested_classes'])
        text += f'The checkpoints of {names} were chosen by validation on the tested classes (published protocol).\n'
    for shots, ratio in (summary['times_best_control'] or {}).items():
        text += f'{shots}-shot: {ratio:.2f} times the better of copied mask and wrong-class support.\n'
    dump_json(summary, out / 'cross_validation.json')
    write_text(text, out / 'cross_validation.md')
    print(f'\n{text}\nsaved as {out / "cross_validation.md"} and .json', flush=True)


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    if args.unsafe_load:
        os.environ[UNSAFE_LOAD] = '1'
    folds = collect(args)
    check_writable(args.out)
    checkpoints = find_checkpoints(folds, args)
    if args.choose_threshold:
        choose_thresholds(folds, checkpoints, args)
    results = [(fold, shots, evaluate_fold(fold, checkpoint, shots, args))
               for shots in dict.fromkeys(args.shots) for fold, checkpoint in zip(folds, checkpoints)]
    write_summary(summarize(results), args.out)

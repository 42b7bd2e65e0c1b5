"""Test the folds of a benchmark and print the row of a paper's table.

``python tools/cross_validate.py 'configs/dcama/swinb_coco20i_fold{0..3}.py' --shots 1 5 --controls --out DIR``
"""
import argparse
import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config, DictAction

import mmfss  # noqa: F401  (at the top: workers of the data loader import this file first)
from mmfss.engine.config_options import ConfigError, load_config
from mmfss.engine.cross_validation import (
    METHODS,
    MODEL,
    evaluate_methods,
    expand_braces,
    expand_checkpoints,
    fingerprint,
    load_result,
    save_result,
    trained_checkpoint,
)
from mmfss.engine.runner_setup import check_writable, default_work_dir, plain_errors, set_episodes
from mmfss.evaluation.fold_table import FoldScore, TableRow, make_rows, to_markdown
from mmfss.utils.checkpoint import UNSAFE_LOAD
from mmfss.utils.files import atomic_path, dump_json

TRAIN_TOOL = Path(__file__).with_name('train.py')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Test the folds of a benchmark and print one table row per number of shots: mIoU of each fold, '
        'their mean and population standard deviation, and the mean FB-IoU. What is done is kept in --out and not done '
        'again.')
    parser.add_argument('configs', nargs='+', metavar='CONFIG',
                        help="configs of the folds; {0..3} and {a,b} are expanded, e.g. 'configs/x_fold{0..3}.py'")
    parser.add_argument('--checkpoints', nargs='+', metavar='CHECKPOINT',
                        help='a checkpoint per config, in the same order; braces and the wildcards * and ? are '
                        'expanded, the newest match counts; default: the best in the working directory of each config')
    parser.add_argument('--train', action='store_true',
                        help='first train the folds whose training has not ended, or continue it (tools/train.py)')
    parser.add_argument('--amp', action='store_true', help='with --train: train in bfloat16')
    parser.add_argument('--work-dirs', type=Path, metavar='DIR',
                        help='parent of the working directories of training; default: as tools/train.py chooses them')
    parser.add_argument('--shots', type=int, nargs='+', default=[1], metavar='K',
                        help='numbers of supports; default: 1')
    parser.add_argument('--ways', type=int, metavar='N', help='classes of an episode; default: that of the config')
    parser.add_argument('--episodes', type=int, help='episodes per fold; default: that of the config')
    parser.add_argument('--seed', type=int, help='seed of the episodes; default: that of the config')
    parser.add_argument('--controls', action='store_true',
                        help='also test, on the same episodes, a copied support mask, supports of another class, and '
                        'an untrained prototype')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/cross_validation'),
                        help='folder of the results; default: work_dirs/cross_validation')
    parser.add_argument('--overwrite', action='store_true', help='test again what is done')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                        help='change keys of every config')
    parser.add_argument('--unsafe-load', action='store_true',
                        help='also load checkpoints that hold arbitrary pickled objects; such a file can run any code')
    args = parser.parse_args()
    if args.train and args.checkpoints:
        parser.error('--train makes its own checkpoints: leave out --checkpoints')
    return args


def work_dir_of(config: Path, args: argparse.Namespace) -> Path:
    """Working directory of the training of a config."""
    return default_work_dir(config) if args.work_dirs is None else args.work_dirs / config.stem


def train(cfg: Config, config: Path, args: argparse.Namespace) -> None:
    """Train a fold in a process of its own, or continue; nothing if its training has ended."""
    work_dir = work_dir_of(config, args)
    if (work_dir / 'train_summary.json').is_file():
        return
    print(f'training {config} in {work_dir}', flush=True)
    changed = work_dir / config.name
    with atomic_path(changed) as path:
        cfg.dump(path)
    command = [sys.executable, str(TRAIN_TOOL), str(changed), '--work-dir', str(work_dir), '--resume']
    finished = subprocess.run(command + ['--amp'] * args.amp + ['--unsafe-load'] * args.unsafe_load)
    if finished.returncode:
        raise ConfigError(f'Training {config} failed (status {finished.returncode}), see above. The same command '
                          'continues.')


def find_checkpoints(cfgs: list[Config], configs: list[Path], args: argparse.Namespace) -> list[Path]:
    """A checkpoint of every fold; trains what is missing if asked to."""
    if args.checkpoints:
        return expand_checkpoints(args.checkpoints, len(configs))
    found = []
    for cfg, config in zip(cfgs, configs):
        if args.train:
            train(cfg, config, args)
        checkpoint = trained_checkpoint(work_dir_of(config, args))
        if checkpoint is None:
            raise ConfigError(f'There is no checkpoint of {config} in "{work_dir_of(config, args)}": train it (--train '
                              'does), or name it with --checkpoints.')
        found.append(checkpoint)
    return found


def evaluate_fold(cfg: Config, config: Path, checkpoint: Path, shots: int, args: argparse.Namespace) -> dict[str, dict]:
    """Results of all methods on one fold; only what is not stored yet is tested."""
    cfg = copy.deepcopy(cfg)
    set_episodes(cfg, num_shots=shots, num_ways=args.ways, num_episodes=args.episodes, seed=args.seed)
    methods = METHODS if args.controls else (MODEL, )
    keys = {method: fingerprint(cfg, checkpoint, method) for method in methods}
    paths = {method: result_path(args.out, config, shots, method) for method in methods}
    results = {method: None if args.overwrite else load_result(paths[method], keys[method]) for method in methods}
    for method, result in results.items():
        if result is not None:
            report(config, shots, method, result, 'kept')
    missing = [method for method, result in results.items() if result is None]
    for method, result in evaluate_methods(cfg, checkpoint, missing, args.out / 'logs' / config.stem):
        results[method] = save_result(paths[method], result, keys[method])
        report(config, shots, method, result, f'{result["seconds"]} s')
    return results


def result_path(out: Path, config: Path, shots: int, method: str) -> Path:
    """File of one result."""
    return out / 'results' / f'{config.stem}_{shots}shot_{method.replace(" ", "_")}.json'


def report(config: Path, shots: int, method: str, result: dict[str, Any], remark: str) -> None:
    """Print one result."""
    metrics = result['metrics']
    figures = f'mIoU {metrics["mIoU"]:.2f}, FB-IoU {metrics["FB-IoU"]:.2f}'
    print(f'{config.stem}, {shots}-shot, {method}: {figures} ({remark})', flush=True)


def summarise(results: dict[tuple[Path, int], dict[str, dict]]) -> dict[str, Any]:
    """The table and what must be known to read it."""
    folds = [all_methods[MODEL]['episodes']['fold'] for all_methods in results.values()]
    by_number = None not in folds and len(set(folds)) == len({config for config, _ in results})
    scores = []
    for (config, shots), all_methods in results.items():
        fold = f'fold {all_methods[MODEL]["episodes"]["fold"]}' if by_number else config.stem
        for method, result in all_methods.items():
            scores.append(FoldScore(method, shots, fold, result['metrics']['mIoU'], result['metrics']['FB-IoU']))
    rows = make_rows(scores)
    models = [all_methods[MODEL] for all_methods in results.values()]
    return dict(
        rows=[row.to_dict() for row in rows],
        markdown=to_markdown(rows),
        times_best_control=times_best_control(rows),
        split_lists=sorted({result['episodes']['lists'] for result in models}),
        not_comparable_because=sorted({reason for result in models for reason in result['protocol']}),
        checkpoints={config.stem: all_methods[MODEL]['fingerprint']['checkpoint']
                     for (config, _), all_methods in results.items()},
        versions=models[0]['versions'])


def times_best_control(rows: list[TableRow]) -> Optional[dict[int, float]]:
    """By number of shots: mIoU of the model over that of the best control that uses no features of its own supports."""
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
    for shots, ratio in (summary['times_best_control'] or {}).items():
        text += f'{shots}-shot: {ratio:.2f} times the better of copied mask and wrong-class support.\n'
    dump_json(summary, out / 'cross_validation.json')
    with atomic_path(out / 'cross_validation.md') as path:
        path.write_text(text, encoding='utf-8')
    print(f'\n{text}\nsaved as {out / "cross_validation.md"} and .json', flush=True)


def main() -> None:
    args = parse_args()
    with plain_errors():
        if args.unsafe_load:
            os.environ[UNSAFE_LOAD] = '1'
        configs = [Path(path) for pattern in args.configs for path in expand_braces(pattern)]
        if len({config.stem for config in configs}) < len(configs):
            raise ConfigError(f'Two configs have one name: {", ".join(map(str, configs))}.')
        check_writable(args.out)
        cfgs = [load_config(config, args.cfg_options) for config in configs]
        checkpoints = find_checkpoints(cfgs, configs, args)
        results = {(config, shots): evaluate_fold(cfg, config, checkpoint, shots, args)
                   for shots in dict.fromkeys(args.shots)
                   for cfg, config, checkpoint in zip(cfgs, configs, checkpoints)}
        write_summary(summarise(results), args.out)


if __name__ == '__main__':
    main()

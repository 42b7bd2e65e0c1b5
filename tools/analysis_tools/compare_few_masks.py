"""Train models on several shares of the masks with several seeds, and print a table: mean and spread of each figure.

Trainings that have ended in the output folder are not repeated, so the same command continues after an interruption.

Example:
    python tools/analysis_tools/compare_few_masks.py --shares 0.05 1.0 --seeds 0 1 --out work_dirs/few_masks
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from prettytable import PrettyTable

from mmfss.utils.package_root import get_package_root

CONFIGS = ('unrolled_lrp/resnet18_shapes', 'unrolled_lrp/mtunet_resnet18_shapes', 'unrolled_lrp/unet_resnet18_shapes')
DATASET = 'train_dataloader.dataset'


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--configs', nargs='+', default=CONFIGS, metavar='NAME', help='configs below configs/')
    parser.add_argument('--shares', nargs='+', type=float, default=[0.05, 0.2, 1.0], help='shares of the masks, 0 to 1')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='seeds of training and of the choice')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/few_masks'), help='folder of the trainings')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='changes to all configs')
    args = parser.parse_args()
    if not all(0 < share <= 1 for share in args.shares):
        parser.error('--shares must be above 0 to 1')
    return args


def train(config: str, share: float, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train one model, or read what a former call has trained: metrics by phase, and seconds."""
    folder = args.out / f'share{share:g}' / f'seed{seed}' / Path(config).name
    result = folder / 'result.json'
    if result.is_file():
        return json.loads(result.read_text(encoding='utf-8'))
    from mmfss.utils.files import dump_json

    root = get_package_root()
    changes = [f'{DATASET}.mask_share={share}', f'{DATASET}.choice_seed={seed}', f'{DATASET}.seed={seed}']
    command = [sys.executable, str(root / 'tools/train.py'), str(root / 'configs' / f'{config}.py'), '--resume',
               '--seed', str(seed), '--work-dir', str(folder), '--cfg-options', *changes, *args.cfg_options]
    print(f'training {config}, {100 * share:g} % of the masks, seed {seed} ...', flush=True)
    start = time.perf_counter()
    subprocess.run(command, check=True)
    row = dict(config=config, share=share, seed=seed, seconds=time.perf_counter() - start, metrics=metrics_of(folder))
    dump_json(row, result)
    return row


def metrics_of(folder: Path) -> dict[str, float]:
    """Metrics of the last validation of a training; those of a phase before it as ``<metric> before``."""
    summary, = folder.rglob('train_summary.json')
    phases = json.loads(summary.read_text(encoding='utf-8')).get('phases')
    if phases is None:
        scalars = sorted(folder.rglob('vis_data/scalars.json'))[-1].read_text(encoding='utf-8').splitlines()
        last = json.loads(scalars[-1])
        return {name: value for name, value in last.items() if name not in ('step', 'time', 'data_time')}
    found = dict(phases[-1]['metrics'])
    if len(phases) > 1:
        found.update({f'{name} before': value for name, value in phases[0]['metrics'].items()})
    return found


def table_of(rows: list[dict[str, Any]], shown: tuple[str, ...]) -> PrettyTable:
    """Mean and, of several seeds, half the range of each figure, by config and share."""
    table = PrettyTable(['model', 'masks', *shown, 'seconds'], align='r')
    table.align['model'] = 'l'
    for key in dict.fromkeys((row['config'], row['share']) for row in rows):
        group = [row for row in rows if (row['config'], row['share']) == key]
        cells = [spread([row['metrics'][name] for row in group if name in row['metrics']]) for name in shown]
        table.add_row([Path(key[0]).name, f'{100 * key[1]:g} %', *cells, spread([row['seconds'] for row in group])])
    return table


def spread(values: list[float]) -> str:
    """Mean, and half the range if there are several values."""
    if not values:
        return '-'
    half = (max(values) - min(values)) / 2
    return f'{statistics.fmean(values):.1f}' + (f' ± {half:.1f}' if len(values) > 1 else '')


def main() -> None:
    """Run the tool."""
    args = parse_args()
    rows = [train(config, share, seed, args) for share in args.shares for seed in args.seeds for config in args.configs]
    table = table_of(rows, ('mIoU', 'F1 before', 'F1', 'mAP before', 'mAP', 'relevance_mass'))
    from mmfss.utils.files import dump_json
    dump_json(dict(command=sys.argv, rows=rows), args.out / 'few_masks.json')
    print(f'{table}\n± is half the range over seeds. All figures: {args.out / "few_masks.json"}')


if __name__ == '__main__':
    main()

"""The main job in one command: train DCAMA on the embedded shapes, measure it on unseen classes, draw what it does, and
explain it.

``make demo`` or ``python tools/demo.py``. Everything is written below ``--work-dir``; a second call continues where the
first one was stopped.
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
import gc
import runpy
import sys
import warnings
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parents[1]
# What takes a second per episode.
EXPLAINERS = ('signed_affex', 'unmasked_affex', 'saliency', 'random')
METRICS = ('miou_loss@1%', 'miou_loss@5%')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train, test and explain DCAMA on the embedded shapes dataset.')
    parser.add_argument('--config', type=Path, default=ROOT / 'configs/dcama/resnet18_shapes_fold0.py',
                        help='config of the model; default: DCAMA with a small ResNet-18 on shapes, fold 0')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'), help='default: work_dirs/demo')
    parser.add_argument('--episodes', type=int, default=200, help='test episodes per table entry; default: 200')
    parser.add_argument('--pictures', type=int, default=16, help='episodes to draw; default: 16')
    parser.add_argument('--explained', type=int, default=12, help='episodes to explain; default: 12')
    return parser.parse_args()


def run(tool: str, *args: object, log: Optional[Path] = None) -> None:
    """Run one of the tools in this process, which has imported everything already; end with its status if it fails.

    Args:
        tool (str): File name below ``tools``.
        *args: Its arguments.
        log (Path, optional): File for its output, instead of the terminal. Progress and errors stay on the terminal.
    """
    command = [str(ROOT / 'tools' / tool), *map(str, args)]
    print('\n$ python', *[part.removeprefix(f'{ROOT}/') for part in command], flush=True)
    arguments, sys.argv = sys.argv, command
    try:
        with ExitStack() as stack:
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                # Not closed: MMEngine's loggers keep it. By lines: worker processes inherit what is not written yet.
                stack.enter_context(redirect_stdout(log.open('w', buffering=1)))
            runpy.run_path(command[0], run_name='__main__')
    except SystemExit as end:
        if end.code:
            raise SystemExit(f'{tool} failed' + (f', see {log}' if log else '')) from end
    finally:
        sys.argv = arguments
    gc.collect()  # the runner and the workers of its data loaders


def train(args: argparse.Namespace) -> Path:
    """Train, or continue, unless it is done; returns the last checkpoint."""
    from mmfss.commands.errors import plain_errors
    from mmfss.utils.config import load_config

    work_dir = args.work_dir / args.config.stem
    if not (work_dir / 'train_summary.json').is_file():
        with plain_errors():
            loop = load_config(args.config).train_cfg
        options = ['--work-dir', work_dir, '--resume']
        if loop.get('val_interval', 1) >= loop.max_iters:
            # A single validation, at the end, has nothing to choose from; the test follows anyway.
            options += ['--cfg-options', f'train_cfg.val_begin={loop.max_iters + 1}']
        run('train.py', args.config, *options)
    return max(work_dir.glob('iter_*.pth'), key=lambda path: path.stat().st_mtime)


def explain(args: argparse.Namespace, checkpoint: Path) -> Path:
    """Explain some predictions; returns the folder."""
    # Where there is a config that explains this one, it has the right options for the size of the pictures.
    explaining = ROOT / 'configs' / 'explain' / f'{args.config.absolute().parent.name}_{args.config.name}'
    out, logs = args.work_dir / 'explanations', args.work_dir / 'explaining'
    run('explain.py', explaining if explaining.is_file() else args.config, checkpoint, '--explainer', *EXPLAINERS,
        '--metrics', *METRICS, '--episodes', args.explained, '--panels', args.explained, '--out', out, '--overwrite',
        '--work-dir', logs, log=logs / 'log.txt')
    return out


def main() -> None:
    args = parse_args()
    print('Loading PyTorch and MMSegmentation: about 10 seconds, 30 on a busy machine.', flush=True)
    warnings.simplefilter('ignore')
    checkpoint = train(args)
    run('cross_validate.py', args.config, '--shots', 1, 5, '--controls', '--episodes', args.episodes,
        '--work-dir', args.work_dir, '--out', args.work_dir)
    pictures, drawing = args.work_dir / 'pictures', args.work_dir / 'drawing'
    run('test.py', args.config, checkpoint, '--episodes', args.pictures, '--show-dir', pictures, '--work-dir', drawing,
        log=drawing / 'log.txt')
    explanations = explain(args, checkpoint)
    table = args.work_dir / 'cross_validation.md'
    print(f'\n{table.read_text()}\nHow well {args.explained} of its predictions are explained:\n\n'
          f'{(explanations / "table.md").read_text()}\ntable:        {table}\npictures:     {pictures}\n'
          f'model:        {checkpoint}\nexplanations: {explanations / "index.html"}', flush=True)


if __name__ == '__main__':
    main()

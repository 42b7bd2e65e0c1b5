"""Measure what a dataset costs: seconds until the first training iteration, memory of workers, episodes per second.

``start`` builds the runner of a config and trains one iteration, as each rank of a training does; run it twice to see
a start with kept arrays. ``workers`` loads batches and reports, for each worker, its unique memory (USS) after the
first and the last batch and the episodes it makes in a second of CPU time; and what the main process pays to receive
a batch. ``make_scale_data.py`` makes data of real size.

Examples:
    python tools/analysis_tools/measure_data.py start configs/dcama/resnet50_coco20i_fold0.py \
        --cfg-options model.backbone.init_cfg=None train_dataloader.batch_size=1
    python tools/analysis_tools/measure_data.py workers configs/dcama/resnet50_coco20i_fold0.py --batches 500
    torchrun --nproc_per_node=2 tools/analysis_tools/measure_data.py start CONFIG --launcher pytorch
"""
import time

BEGIN = time.time()  # before the imports, which are part of a start

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, Optional  # noqa: E402

import torch  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.registry import RUNNERS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmengine.utils.dl_utils import set_multi_processing  # noqa: E402

from mmfss.engine.distributed import setup_distributed  # noqa: E402
from mmfss.registry import register_all_modules  # noqa: E402
from mmfss.utils.config import load_config  # noqa: E402
from mmfss.utils.config_options import parse_options  # noqa: E402

MIB = 2**20


def memory(pid: Any = 'self') -> dict[str, float]:
    """Return resident, proportional and unique memory of a process, MiB."""
    values = {line.split(':')[0]: int(line.split()[1]) / 1024
              for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()[1:]}
    return dict(rss=round(values['Rss']), pss=round(values['Pss']),
                uss=round(values['Private_Clean'] + values['Private_Dirty']))


def cpu_seconds(pid: Any = 'self') -> float:
    """Return the CPU time of a process."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class StopHook(Hook):
    """Note how far a training has come, and stop it after the first iteration."""

    def __init__(self, marks: dict[str, Any]) -> None:
        self.marks = marks

    def before_train(self, runner: Runner) -> None:
        mark(self.marks, 'runner and data are built')

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        mark(self.marks, 'first iteration is done')
        runner.train_loop.stop_training = True
        runner._val_loop = None  # no validation after the last iteration


def mark(marks: dict[str, Any], what: str) -> None:
    """Note wall-clock and CPU seconds since the start, and memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    marks[what] = dict(seconds=round(time.time() - BEGIN, 1), cpu_seconds=round(cpu_seconds(), 1), **memory(),
                       peak=round(peak))
    print(f'rank {os.environ.get("RANK", 0)}: {what}: {marks[what]}', flush=True)


def measure_start(args: argparse.Namespace) -> dict[str, Any]:
    """Train one iteration."""
    marks: dict[str, Any] = {}
    mark(marks, 'packages are imported')
    cfg = load_config(args.config, args.cfg_options)
    setup_distributed(cfg, args.launcher)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cfg.default_hooks.pop('checkpoint', None)
        runner = RUNNERS.build(cfg)
        runner.register_hook(StopHook(marks), 'LOWEST')
        runner.train()
    return marks


def measure_workers(args: argparse.Namespace) -> dict[str, Any]:
    """Load batches with workers."""
    cfg = load_config(args.config, args.cfg_options)
    register_all_modules(init_default_scope=True)
    set_multi_processing(args.start_method, 0)
    torch.set_num_threads(1)
    loader = cfg.train_dataloader
    loader.update(num_workers=args.workers, persistent_workers=True, batch_size=args.batch_size)
    built = Runner.build_dataloader(loader, seed=0)
    batches = iter(built)
    next(batches)
    pids = [worker.pid for worker in batches._workers]
    time.sleep(2)
    first = [memory(pid) for pid in pids]
    before = [cpu_seconds(pid) for pid in pids]
    start, received, received_cpu = time.perf_counter(), 0., 0.
    for _ in range(args.batches):
        if args.pause:  # like a training step, in which the workers fill up
            time.sleep(args.pause)
        wall, own = time.perf_counter(), time.thread_time()
        next(batches)
        received, received_cpu = received + time.perf_counter() - wall, received_cpu + time.thread_time() - own
    seconds, episodes = time.perf_counter() - start, args.batches * args.batch_size
    used = sum(cpu_seconds(pid) for pid in pids) - sum(before)
    return dict(
        workers=args.workers, batches=args.batches, batch_size=args.batch_size, start_method=args.start_method,
        memory_of_main=memory(), memory_after_first=first, memory_after_last=[memory(pid) for pid in pids],
        episodes_per_cpu_second=round(episodes / used, 1),
        episodes_per_second_and_worker=round(episodes / seconds / args.workers, 1),
        receive_ms=round(1e3 * received / args.batches, 1), receive_cpu_ms=round(1e3 * received_cpu / args.batches, 1))


def main(arguments: Optional[list[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('start', 'workers'), help='what to measure')
    parser.add_argument('config', type=Path, help='config of a training')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='changes to the config')
    parser.add_argument('--launcher', default='none', choices=('none', 'pytorch'), help='start: how ranks are launched')
    parser.add_argument('--workers', type=int, default=2, help='workers of the data loader')
    parser.add_argument('--batches', type=int, default=500, help='workers: batches to load')
    parser.add_argument('--batch-size', type=int, default=12, help='workers: episodes of a batch')
    parser.add_argument('--pause', type=float, default=0., help='workers: seconds between batches')
    parser.add_argument('--start-method', default='fork', choices=('fork', 'forkserver', 'spawn'),
                        help='workers: how they are started')
    parser.add_argument('--out', type=Path, help='file for the results, JSON')
    args = parser.parse_args(arguments)
    args.cfg_options = parse_options(args.cfg_options)
    results = dict(start=measure_start, workers=measure_workers)[args.what](args)
    print(json.dumps(results, indent=2))
    if args.out:
        args.out.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()

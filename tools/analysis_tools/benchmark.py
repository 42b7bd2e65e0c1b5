"""Measure the speed and the memory of the models, mostly as ratios, which other work on the machine disturbs least.

Without a config it compares the DCAMA head with a plain implementation that writes out every softmax, one encoded
support with encoding it for every query, and times a training step; features and weights are random, no file is
needed. With a config it measures how many frames (queries) per second that model segments.

Examples:
    python tools/analysis_tools/benchmark.py --out benchmark.json
    python tools/analysis_tools/benchmark.py --parts head --backbones swinb --shots 5 --threads 1
    python tools/analysis_tools/benchmark.py configs/dcama/swinb_coco20i_fold0.py dcama.pth --shots 1 5
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
import platform
import statistics
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import torch
from affex_cases import AFFEX_PARTS, cost, prepared_affex
from benchmark_cases import BACKBONES, HEAD_PARTS, Setting, WholeModel, episode, prepared
from causal_cases import causal
from correlation_cases import CORRELATION_PARTS, prepared_correlation
from diffews_cases import DIFFEWS_MEANING, DIFFEWS_PARTS, diffews_rows
from growth_cases import GROWTH_PART, growth_rows, growth_table
from insid3_cases import INSID3_MEANING, INSID3_PART, insid3_rows
from lrp_cases import LRP_MEANING, LRP_PARTS, lrp_rows
from prettytable import PrettyTable
from prototype_cases import PROTOTYPE_MEANING, PROTOTYPE_PARTS, prototype_rows

from mmfss.apis import build_model
from mmfss.apis.image_transform import ImageTransform
from mmfss.registry import register_all_modules
from mmfss.utils.benchmark import Ratio, alternate, peak_extra_memory, timed
from mmfss.utils.config import load_config
from mmfss.utils.files import dump_json

PARTS = ('attention', 'head', 'support', 'training', 'causal', 'affex', 'ablation', 'affex_cost', *CORRELATION_PARTS,
         *PROTOTYPE_PARTS, INSID3_PART, *LRP_PARTS, *DIFFEWS_PARTS)
MEANING = """\
attention  projected tokens -> coarse masks of all layers; reference: explicit softmax, measured: this package
head       features -> logits; reference and measured as above
head_step  the same forward and backward, with dropout
support    one query; reference: supports encoded for it, measured: supports encoded before
support*   all queries; as above, measured includes encoding the supports once
causal     an insertion curve; reference: an explicit prediction of the whole episode for every state
causal*    the same; reference: a prediction of this package for every state
causal2    curves by mIoU and by confidence; reference: as in causal for each
affex      projected tokens -> contributions of all layers, as one map; reference: every support position's affinity as
           a map of pixels, measured: this package
ablation   coarse masks -> effect of every layer; reference: decoding all anew without each, measured: this package
cost       reference: a whole explanation by AffEx of an eighth of the query, prediction and ablation included,
           measured: a prediction
cost/2     the same of half the query
cost*4     four variants of AffEx in one run, of an eighth of the query, measured: a prediction
floor      reference: contributions as in affex, measured: the products of query and support tokens alone
floor*     reference: a prediction, measured: its backbone and these products
hsnet      images -> prediction of HSNet; reference: literally, support by support, measured: this package
dmtnet     images -> prediction of DMTNet; reference: every feature transformed, both branches; measured: this package
dmtnet*    as above, measured with the background's branch too, as in training
Ratios are reference / measured: median, and smallest to largest of the pairs. Memory is what is used at the peak beyond
inputs and weights. Seconds of all but support are the process's own CPU time if one thread
computes."""
WARM_UP_EPISODES = 3
"""Untimed episodes before a config's model is measured."""

Row = dict[str, Any]


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', help='measure the model of this config')
    parser.add_argument('checkpoint', nargs='?', help='its weights; random ones are as fast')
    parser.add_argument('--parts', nargs='+', choices=(*PARTS, GROWTH_PART),
                        help='what to measure; by default all but growth, or the config')
    parser.add_argument('--backbones', nargs='+', choices=BACKBONES, default=['swinb', 'resnet50'], help='sizes')
    parser.add_argument('--shots', nargs='+', type=int, default=[1, 5], help='numbers of supports')
    parser.add_argument('--size', type=int, default=384, help='side of the images in pixels, a multiple of 32')
    parser.add_argument('--repeat-times', type=int, default=5, help='timed runs of each computation')
    parser.add_argument('--queries', type=int, default=20, help='queries for one support set')
    parser.add_argument('--batch-size', type=int, help='episodes of a training step; default 12 on a GPU, else 1')
    parser.add_argument('--num-episodes', type=int, default=20, help='timed episodes per repetition of a config')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda' if torch.cuda.is_available() else 'cpu',
                        help='default: a GPU if there is one')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='threads of a CPU computation')
    parser.add_argument('--out', type=Path, help='file for all results, JSON')
    args = parser.parse_args()
    if args.parts is None:
        args.parts = [] if args.config else PARTS
    numbers = ('size', 'repeat_times', 'queries', 'num_episodes', 'threads')
    wrong = [name for name in numbers if getattr(args, name) < 1] + ['shots' for k in args.shots if k < 1]
    if wrong:
        parser.error(f'--{wrong[0].replace("_", "-")} must be at least 1')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: PyTorch finds no GPU here')
    if args.out is not None and args.out.is_dir():
        parser.error(f'--out is a file to write, but "{args.out}" is a folder')
    if args.size % 32 and set(args.parts) - set(CORRELATION_PARTS):
        parser.error(f'--size must be a multiple of 32, got {args.size}')
    return args


def settings(args: argparse.Namespace) -> Iterator[Setting]:
    """Every backbone with every number of shots."""
    for backbone in args.backbones:
        for shots in args.shots:
            yield Setting(backbone, shots, args.size, args.device, args.threads)


def compare_heads(part: str, setting: Setting, repeats: int) -> Row:
    """Time and memory of a part of the head, explicit and streamed."""
    progress(f'{part}, {setting.backbone}, {setting.shots}-shot')
    names = ('explicit', 'streamed')
    memory = {name: peak_extra_memory(prepared, part, name, setting, device=setting.device) for name in names}
    seconds = alternate(HEAD_PARTS[part](setting), repeats, setting.device, own_clock(setting))
    return comparison(part, setting, seconds['explicit'], seconds['streamed'], memory['explicit'], memory['streamed'])


def compare_support_reuse(setting: Setting, num_queries: int) -> list[Row]:
    """Many queries against one support set, encoded for each query or once."""
    progress(f'support, {setting.backbone}, {setting.shots}-shot, {num_queries} queries')
    case = WholeModel(setting)
    seconds = alternate(case.reuse(), num_queries, setting.device)
    once = timed(case.encode, setting.device)
    return [
        comparison('support', setting, seconds['anew'], seconds['encoded']),
        comparison('support*', setting, [sum(seconds['anew'])], [once + sum(seconds['encoded'])]),
    ]


def compare_causal(setting: Setting, repeats: int) -> list[Row]:
    """A causal metric, by one whole prediction for every state and by keeping what states share."""
    progress(f'causal, {setting.backbone}, {setting.shots}-shot')
    seconds = alternate(causal(setting), repeats, setting.device, own_clock(setting))
    return [
        comparison('causal', setting, seconds['explicit'], seconds['shared']),
        comparison('causal*', setting, seconds['whole'], seconds['shared']),
        # A loop that scores metric by metric meets every state once for each.
        comparison('causal2', setting, [2 * once for once in seconds['explicit']], seconds['pair']),
    ]


def compare_affex(part: str, setting: Setting, repeats: int) -> Row:
    """Time and memory of a part of AffEx, literal and streamed."""
    progress(f'{part}, {setting.backbone}, {setting.shots}-shot')
    names = ('explicit', 'streamed')
    memory = {name: peak_extra_memory(prepared_affex, part, name, setting, device=setting.device) for name in names}
    seconds = alternate(AFFEX_PARTS[part](setting), repeats, setting.device, own_clock(setting))
    return comparison(part, setting, seconds['explicit'], seconds['streamed'], memory['explicit'], memory['streamed'])


def compare_correlation(part: str, setting: Setting, repeats: int) -> list[Row]:
    """Time and memory of whole predictions of HSNet or DMTNet, plain and by this package."""
    progress(f'{part}, {setting.backbone}, {setting.shots}-shot')
    names = ('explicit', 'streamed')
    memory = [peak_extra_memory(prepared_correlation, part, name, setting, device=setting.device) for name in names]
    seconds = alternate(CORRELATION_PARTS[part](setting), repeats, setting.device, own_clock(setting))
    rows = [comparison(part, setting, seconds['explicit'], seconds['streamed'], *memory)]
    if 'both' in seconds:
        rows.append(comparison(f'{part}*', setting, seconds['explicit'], seconds['both']))
    return rows


def compare_affex_cost(setting: Setting, repeats: int) -> list[Row]:
    """A whole explanation beside a prediction, and its contributions beside the scores they are made of."""
    progress(f'affex_cost, {setting.backbone}, {setting.shots}-shot')
    seconds = alternate(cost(setting), repeats, setting.device, own_clock(setting))
    return [
        comparison('cost', setting, seconds['affex'], seconds['prediction']),
        comparison('cost/2', setting, seconds['half'], seconds['prediction']),
        comparison('cost*4', setting, seconds['variants'], seconds['prediction']),
        comparison('floor', setting, seconds['contributions'], seconds['scores']),
        comparison('floor*', setting, seconds['prediction'],
                   [sum(pair) for pair in zip(seconds['backbone'], seconds['scores'])]),
    ]


def own_clock(setting: Setting) -> Callable[[], float]:
    """CPU time where one thread computes, which other work on the machine disturbs least, else wall-clock time."""
    return time.process_time if setting.device == 'cpu' and setting.threads == 1 else time.perf_counter


def measure_training(setting: Setting, repeats: int) -> list[Row]:
    """Episodes per second of a training step, and of its backbone alone, in fp32 and bf16."""
    rows = []
    for precision in ('fp32', 'bf16'):
        progress(f'training, {setting.backbone}, {setting.shots}-shot, {setting.batch_size} episodes, {precision}')
        case = WholeModel(setting).training(bf16=precision == 'bf16')
        seconds = alternate(case, repeats, setting.device)
        speed = {name: setting.batch_size / statistics.median(times) for name, times in seconds.items()}
        rows.append(dict(**asdict(setting), precision=precision, seconds=seconds, episodes_per_second=speed))
    return rows


def measure_config(args: argparse.Namespace) -> list[Row]:
    """Frames per second of a config's model: mean and variance over the repetitions."""
    cfg = load_config(args.config)
    model = build_model(cfg, args.checkpoint, args.device)
    image, _ = ImageTransform.from_config(cfg).prepare(np.zeros((args.size, args.size, 3), np.uint8))
    rows = []
    for shots in args.shots:
        data = episode(tuple(image.shape[-2:]), shots)
        for _ in range(WARM_UP_EPISODES):
            model.test_step(data)
        frames = []
        for repetition in range(args.repeat_times):
            progress(f'{args.config}, {shots}-shot, repetition {repetition + 1} of {args.repeat_times}')
            seconds = sum(timed(lambda data=data: model.test_step(data), args.device) for _ in range(args.num_episodes))
            frames.append(args.num_episodes / seconds)
        rows.append(dict(
            config=args.config, checkpoint=args.checkpoint, shots=shots, size=list(image.shape[-2:]),
            frames_per_second=frames, mean=statistics.fmean(frames), variance=statistics.pvariance(frames)))
    return rows


def comparison(part: str, setting: Setting, reference: list[float], measured: list[float], *memory: int) -> Row:
    """A result as it is written down.

    Args:
        part (str): What was measured.
        setting (Setting): The sizes.
        reference (list[float]): Seconds of the reference.
        measured (list[float]): Seconds of this package, in turns with the reference.
        memory (int): Peak extra bytes of the reference and of this package, if measured.
    """
    row = dict(part=part, **asdict(setting), seconds=dict(reference=reference, measured=measured),
               time_ratio=asdict(Ratio.of(reference, measured)))
    if memory:
        row['extra_bytes'] = dict(zip(('reference', 'measured'), memory))
        row['memory_ratio'] = memory[0] / memory[1] if memory[1] else None
    return row


def comparison_table(rows: list[Row]) -> PrettyTable:
    """Table of :func:`comparison` rows."""
    table = PrettyTable([
        'part', 'sizes of', 'shots', 'reference', 'measured', 'less time', 'ref. memory', 'memory', 'less memory'])
    for row in rows:
        seconds = [f'{statistics.median(times):.3g} s' for times in row['seconds'].values()]
        memory = [f'{extra / 2**20:.0f} MiB' for extra in row.get('extra_bytes', {}).values()] or ['', '']
        table.add_row([row['part'], row['backbone'], row['shots'], *seconds, Ratio(**row['time_ratio']), *memory,
                       f'{row["memory_ratio"]:.1f}x' if row.get('memory_ratio') else ''])
    return table


def training_table(rows: list[Row]) -> PrettyTable:
    """Table of :func:`measure_training` rows."""
    table = PrettyTable(['training step', 'shots', 'batch', 'precision', 'episodes/s', 'backbone only, episodes/s'])
    for row in rows:
        speed = row['episodes_per_second']
        table.add_row([row['backbone'], row['shots'], row['batch_size'], row['precision'], f'{speed["step"]:.3g}',
                       f'{speed["backbone"]:.3g}'])
    return table


def config_table(rows: list[Row]) -> PrettyTable:
    """Table of :func:`measure_config` rows."""
    table = PrettyTable(['config', 'shots', 'size', 'frames/s', 'variance'])
    for row in rows:
        table.add_row([Path(row['config']).stem, row['shots'], 'x'.join(map(str, row['size'])), f'{row["mean"]:.3g}',
                       f'{row["variance"]:.3g}'])
    return table


def environment(args: argparse.Namespace) -> Row:
    """What the figures depend on."""
    device = torch.cuda.get_device_name() if args.device == 'cuda' else platform.processor() or platform.machine()
    return dict(device=args.device, name=device, threads=args.threads, torch=torch.__version__,
                python=platform.python_version())


def progress(text: str) -> None:
    """Say what is being measured."""
    print(f'measuring {text} ...', flush=True)


def measure(args: argparse.Namespace) -> dict[str, list[Row]]:
    """All that the command line asks for."""
    compared: list[Row] = []
    for part in ('attention', 'head'):
        if part in args.parts:
            compared += [compare_heads(part, setting, args.repeat_times) for setting in settings(args)]
    if 'support' in args.parts:
        shots = max(args.shots)
        for setting in (setting for setting in settings(args) if setting.shots == shots):
            compared += compare_support_reuse(setting, args.queries)
    if 'causal' in args.parts:
        for setting in settings(args):
            compared += compare_causal(setting, args.repeat_times)
    for part in AFFEX_PARTS:
        if part in args.parts:
            compared += [compare_affex(part, setting, args.repeat_times) for setting in settings(args)]
    if 'affex_cost' in args.parts:
        for setting in settings(args):
            compared += compare_affex_cost(setting, args.repeat_times)
    for part in (part for part in CORRELATION_PARTS if part in args.parts):
        for setting in settings(args):
            compared += compare_correlation(part, setting, args.repeat_times)
    compared += prototype_rows(args.parts, args.repeat_times, args.device, args.threads)
    if INSID3_PART in args.parts:
        compared += insid3_rows(args.shots, args.repeat_times, args.threads)
    compared += lrp_rows(args.parts, args.repeat_times, args.device, args.threads)
    compared += diffews_rows(args.parts, args.repeat_times, args.device, args.threads)
    training: list[Row] = []
    if 'training' in args.parts:
        batch_size = args.batch_size or (12 if args.device == 'cuda' else 1)
        for backbone in args.backbones:
            # DCAMA is trained on one-shot episodes.
            setting = Setting(backbone, 1, args.size, args.device, args.threads, batch_size)
            compared.append(compare_heads('head_step', setting, args.repeat_times))
            training += measure_training(setting, args.repeat_times)
    growth = growth_rows(args.device, args.threads) if GROWTH_PART in args.parts else []
    return dict(comparisons=compared, training=training, growth=growth,
                models=measure_config(args) if args.config else [])


def main() -> None:
    """Run the tool."""
    args = parse_args()
    warnings.filterwarnings('ignore', message='build_loss would be deprecated')
    register_all_modules(init_default_scope=True)
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = False
    results = measure(args)
    about = environment(args)
    if args.out:
        dump_json(dict(command=sys.argv, environment=about, **results), args.out)
    print('\n' + ', '.join(f'{key}: {value}' for key, value in about.items()))
    for rows, table in ((results['comparisons'], comparison_table), (results['training'], training_table),
                        (results['growth'], growth_table), (results['models'], config_table)):
        if rows:
            print(table(rows))
    if results['comparisons']:
        print(f'{LRP_MEANING}\n{DIFFEWS_MEANING}\n{PROTOTYPE_MEANING}\n{INSID3_MEANING}\n{MEANING}')
    if args.out:
        print(f'All measurements: {args.out}')


if __name__ == '__main__':
    main()

"""Measure the work of a GPU in a few minutes; ``gpu_check.sh`` runs this after the GPU tests.

DCAMA's training step beside its literal implementation (``explicit_dcama.py``) and its backbone alone, at several batch
sizes and precisions, also compiled; AffEx and an insertion curve per episode; many queries on one support set. Weights
and images are random, no file is needed. What does not fit into the minutes is listed as not measured.

Examples:
    python tools/analysis_tools/gpu_check.py --out gpu_check.json --minutes 6
    python tools/analysis_tools/gpu_check.py --rehearse
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
import statistics
import time
import warnings
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence

import torch
from affex_cases import cost
from benchmark_cases import Computation, Setting, WholeModel
from causal_cases import causal
from explicit_dcama import ExplicitDCAMA
from torch import Tensor

from mmfss.registry import register_all_modules
from mmfss.utils.benchmark import timed
from mmfss.utils.files import dump_json, write_text
from mmfss.utils.versions import versions

PRECISIONS = ('fp32', 'tf32', 'bf16', 'compiled')
"""``compiled`` is bf16 and ``torch.compile``."""
CASES = dict(affex=('explanation by AffEx, 1-shot', cost, 'prediction', 'affex'),
             iauc=('insertion curve, 1-shot', causal, 'explicit', 'shared'))
"""Title, computations by name, and which of them are the reference and this package."""

Row = dict[str, Any]


@contextmanager
def precision_of(name: str) -> Iterator[None]:
    """Allow TF32 or not."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name != 'fp32'
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


class TrainingCase:
    """A training step of DCAMA by this package, by the literal implementation, and the forward pass of its backbone."""

    def __init__(self, setting: Setting, precision: str) -> None:
        self.case = WholeModel(setting)
        self.model = self.case.model.train()
        self.plain = ExplicitDCAMA(self.model.head, keep_attention=False).to(setting.device).train()
        self.optimizer = torch.optim.SGD(self.model.head.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
        self.autocast = partial(torch.autocast, self.case.device, torch.bfloat16,
                                enabled=precision in ('bf16', 'compiled'))
        forward = torch.compile(self.model.logits) if precision == 'compiled' else self.model.logits
        self.parts: dict[str, Computation] = dict(
            ours=partial(self.step, lambda: forward(self.case.query, self.case.support, self.case.masks)),
            backbone=self.backbone)
        if precision != 'compiled':
            self.parts['reference'] = partial(self.step, self.literal)

    def images(self) -> Tensor:
        return torch.cat((self.case.query, self.case.support.flatten(0, 2)))

    def backbone(self) -> None:
        with self.autocast():
            self.model.extract_feat(self.images())

    def literal(self) -> Tensor:
        batch = len(self.case.query)
        images = self.images()
        query, support = self.model.extract_feat(images).split((batch, len(images) - batch))
        logits = self.plain(query, support, self.case.masks[:, 0])
        return torch.nn.functional.interpolate(logits, images.shape[-2:], mode='bilinear', align_corners=True)

    def step(self, logits: Callable[[], Tensor]) -> None:
        self.optimizer.zero_grad()
        with self.autocast():
            loss = self.model.head.loss(logits(), self.case.target)['loss_ce']
        loss.backward()
        self.optimizer.step()


def measured(computation: Computation, device: str, repeats: int) -> tuple[float, Optional[float]]:
    """Return the median of the seconds, and the GiB that PyTorch allocated beyond those in use before."""
    computation()
    if device == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if device == 'cuda' else 0
    seconds = statistics.median(timed(computation, device) for _ in range(repeats))
    return seconds, (torch.cuda.max_memory_allocated() - before) / 2**30 if device == 'cuda' else None


def row_of(work: str, sizes: str, precision: str, episodes: int, parts: dict[str, Computation], device: str,
           repeats: int) -> Row:
    """Measure the computations ``ours``, ``reference`` and ``backbone``, as far as there are."""
    row: Row = dict(work=work, sizes=sizes, precision=precision)
    for name, computation in parts.items():
        seconds, memory = measured(computation, device, repeats)
        row[name] = dict(seconds=seconds, gib=memory, episodes_per_second=episodes / seconds)
    return row


def training_row(setting: Setting, precision: str, repeats: int) -> Row:
    """Measure a training step."""
    with precision_of(precision):
        parts = TrainingCase(setting, precision).parts
        return row_of('training step', f'{setting.backbone}, batch {setting.batch_size}', precision,
                      setting.batch_size, parts, setting.device, repeats)


def case_row(name: str, setting: Setting, repeats: int) -> Row:
    """Measure AffEx or a causal metric."""
    title, make, reference, ours = CASES[name]
    with precision_of('fp32'):
        parts = make(setting)
        return row_of(title, setting.backbone, 'fp32', 1, dict(ours=parts[ours], reference=parts[reference]),
                      setting.device, repeats)


def queries_row(setting: Setting, num_queries: int, repeats: int) -> Row:
    """Measure queries on supports that were encoded once."""
    with precision_of('fp32'):
        case = WholeModel(setting)
        parts = case.reuse()

        def many(computation: Computation) -> None:
            for _ in range(num_queries):
                computation()

        @torch.no_grad()
        def backbone() -> None:
            case.model.extract_feat(case.query)

        return row_of(f'{num_queries} queries on one support set', f'{setting.backbone}, {setting.shots}-shot', 'fp32',
                      num_queries, dict(ours=partial(many, parts['encoded']), reference=partial(many, parts['anew']),
                                        backbone=partial(many, backbone)), setting.device, repeats)


def markdown_table(rows: Sequence[Row]) -> str:
    """Format the rows of :func:`row_of` as a table.

    Args:
        rows (Sequence[dict]): The rows; one that could not be measured has a ``note``.
    """
    lines = ['| work | sizes | precision | reference, ms | ours, ms | ratio | episodes/s | backbone, ms | GiB '
             '(reference) |', '|---|---|---|---:|---:|---:|---:|---:|---:|']
    for row in rows:
        if 'note' in row:
            lines.append(f'| {row["work"]} | {row["sizes"]} | {row["precision"]} | | {row["note"]} | | | | |')
            continue
        seconds = {name: row[name]['seconds'] if name in row else None for name in ('reference', 'ours', 'backbone')}
        milliseconds = {name: '' if value is None else f'{1e3 * value:.3g}' for name, value in seconds.items()}
        ratio = '' if seconds['reference'] is None else f'{seconds["reference"] / seconds["ours"]:.2f}'
        memory = [f'{row[name]["gib"]:.2f}' for name in ('ours', 'reference')
                  if name in row and row[name]['gib'] is not None]
        lines.append(
            f'| {row["work"]} | {row["sizes"]} | {row["precision"]} | {milliseconds["reference"]} | '
            f'{milliseconds["ours"]} | {ratio} | {row["ours"]["episodes_per_second"]:.3g} | '
            f'{milliseconds["backbone"]} | {memory[0] + (f" ({memory[1]})" if memory[1:] else "") if memory else ""} |')
    return '\n'.join(lines) + '\n'


def plan(args: argparse.Namespace) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """List what is measured, the most wanted first: its title, and how."""
    setting = partial(Setting, args.backbone, size=args.size, device=args.device, threads=torch.get_num_threads())
    for batch in args.batch_sizes:
        for precision in PRECISIONS[:3]:
            yield (dict(work='training step', sizes=f'{args.backbone}, batch {batch}', precision=precision),
                   partial(training_row, setting(shots=1, batch_size=batch), precision, args.repeats))
    for name, (title, *_) in CASES.items():
        yield (dict(work=title, sizes=args.backbone, precision='fp32'),
               partial(case_row, name, setting(shots=1), args.repeats))
    yield (dict(work=f'{args.queries} queries on one support set', sizes=args.backbone, precision='fp32'),
           partial(queries_row, setting(shots=5), args.queries, args.repeats))
    for batch in args.batch_sizes[::-1]:  # compiling takes minutes: the largest first
        yield (dict(work='training step', sizes=f'{args.backbone}, batch {batch}', precision='compiled'),
               partial(training_row, setting(shots=1, batch_size=batch), 'compiled', args.repeats))


def measure(args: argparse.Namespace, write: Callable[[list[Row]], None]) -> list[Row]:
    """Measure until the minutes are over, and write after each row; a fault of one does not stop the others."""
    end, rows = time.monotonic() + 60 * args.minutes, []
    for title, make in plan(args):
        print(f'measuring {", ".join(title.values())} ...', flush=True)
        if time.monotonic() > end:
            rows.append(dict(title, note='not measured: the time was over'))
        else:
            try:
                rows.append(make())
            except Exception as error:  # such as too little memory: the row says so
                text = str(error).strip().splitlines() or ['']
                rows.append(dict(title, note=f'not measured: {type(error).__name__}: {text[0][:100]}'))
            torch.compiler.reset()
        write(rows)
    return rows


def parse_args(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rehearse', action='store_true', help='run everything once on the CPU, at a small size')
    parser.add_argument('--minutes', type=float, default=6., help='no measurement begins after these')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu_check/gpu_check.json'), help='JSON; the table '
                        'goes beside it, as Markdown')
    args = parser.parse_args(arguments)
    if not args.rehearse and not torch.cuda.is_available():
        parser.error('PyTorch finds no GPU here; --rehearse runs the same at a small size on the CPU')
    sizes = dict(device='cuda', backbone='swinb', size=384, batch_sizes=[8, 16, 48], repeats=3, queries=20)
    if args.rehearse:
        sizes = dict(device='cpu', backbone='resnet18', size=64, batch_sizes=[1, 2], repeats=1, queries=2)
    vars(args).update(sizes)
    return args


def main() -> None:
    """Run the tool."""
    args = parse_args()
    warnings.filterwarnings('ignore', message='build_loss would be deprecated')
    register_all_modules(init_default_scope=True)
    name = torch.cuda.get_device_name() if args.device == 'cuda' else 'CPU (a rehearsal, no measurement)'
    title = f'{name}, {args.size} x {args.size} pixels, PyTorch {torch.__version__}'

    def write(rows: list[Row]) -> None:
        dump_json(dict(device=name, rehearsal=args.rehearse, versions=versions(), rows=rows), args.out)
        write_text(f'{title}\n\n{markdown_table(rows)}', args.out.with_suffix('.md'))

    rows = measure(args, write)
    print(f'\n{title}\n\n{markdown_table(rows)}\n{args.out}')


if __name__ == '__main__':
    main()

"""Growth of time and memory for ``benchmark.py``: with shots, pixels, classes and episodes, by a tiny model.

The slope of an axis is the power of its value with which the cost grows: 1 is linear. Attention compares all pixels of
the query with all of the supports, so that time is linear in shots and, for large images, quadratic in pixels; memory
is linear in both, because no affinity is held.
"""
import time
from typing import Any, Callable, Optional, Sequence

import numpy as np
import torch
from affex_cases import cost
from benchmark_cases import Computation, Setting, WholeModel
from prettytable import PrettyTable

from mmfss.datasets import ClassLists, UniformEpisodeSampler
from mmfss.evaluation.functional import bootstrap_intervals, compute_scores, episode_counts, tabulate_counts
from mmfss.utils.benchmark import peak_extra_memories, timed

GROWTH_PART = 'growth'
AXES = dict(
    shots=(1, 2, 5, 10, 20), side=(256, 512, 1024), classes=(5, 20, 80, 320, 1203), episodes=(100, 1000, 10_000))
"""Measured values; ``side`` is that of the images in pixels, whose slope is given for their area."""
LARGEST_TRAINED = 512
"""Side of the images of a training step, which keeps what its backward pass reads."""
IMAGES_PER_CLASS = 20
DEFAULTS = dict(shots=1, side=128, classes=20, episodes=1000)

Row = dict[str, Any]


def prediction(shots: int, side: int, device: str, threads: int, **_: Any) -> Computation:
    """From images to logits."""
    return cost(Setting('tiny', shots, side, device, threads))['prediction']


def explanation(shots: int, side: int, device: str, threads: int, **_: Any) -> Computation:
    """An attribution by AffEx, its prediction included."""
    return cost(Setting('tiny', shots, side, device, threads))['affex']


def training(shots: int, side: int, device: str, threads: int, **_: Any) -> Computation:
    """A training step of one episode."""
    return WholeModel(Setting('tiny', shots, side, device, threads)).training(bf16=False)['step']


def sampling(classes: int, **_: Any) -> Computation:
    """Lists of so many classes with twenty images each, a sampler, and a hundred episodes."""
    ids = np.repeat(np.arange(classes), IMAGES_PER_CLASS)
    names = np.char.mod('train/%09d.jpg', np.arange(len(ids)))

    def draw() -> None:
        sampler = UniformEpisodeSampler(ClassLists(ids, names), range(classes), num_shots=5)
        for index in range(100):
            sampler[index]

    return draw


def evaluation(classes: int, episodes: int, **_: Any) -> Computation:
    """Scores and bootstrap intervals of counted episodes."""
    rng = np.random.default_rng(0)
    prediction, target = (torch.from_numpy(rng.integers(0, 2, (16, 16))) for _ in range(2))
    counts = episode_counts(prediction, target, 1)

    def evaluate() -> None:
        entries = [dict(class_ids=[number % classes], **counts) for number in range(episodes)]
        table = tabulate_counts(entries, range(classes))
        compute_scores(table)
        bootstrap_intervals(table)

    return evaluate


WORKS: dict[str, tuple[Callable[..., Computation], tuple[str, ...]]] = dict(
    prediction=(prediction, ('shots', 'side')), explanation=(explanation, ('shots', 'side')),
    training=(training, ('shots', 'side')), sampling=(sampling, ('classes', )),
    evaluation=(evaluation, ('classes', 'episodes')))
"""Works, and the axes along which they are measured."""


def prepared_growth(work: str, options: dict[str, Any]) -> Computation:
    """One computation, ready to be measured in a fresh process."""
    torch.set_num_threads(options['threads'])
    make, _ = WORKS[work]
    make(**{**options, 'shots': 1, 'side': 64, 'classes': 5, 'episodes': 10})()  # what libraries allocate at first
    return make(**options)


def growth_rows(device: str, threads: int, axes: Optional[dict[str, Sequence[int]]] = None) -> list[Row]:
    """Measure every work along its axes, one run of each value after a small one.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.
        threads (int): Threads of a CPU computation.
        axes (dict, optional): Values of each axis; :data:`AXES` by default.

    Returns:
        list[dict]: ``work``, ``axis``, ``values``, ``seconds``, ``extra_bytes``, ``time_slope``, ``memory_slope``.
    """
    axes, rows = axes or AXES, []
    clock = time.process_time if device == 'cpu' and threads == 1 else time.perf_counter
    for work, (_, names) in WORKS.items():
        for axis in names:
            print(f'measuring growth of {work} along {axis} ...', flush=True)
            values = [value for value in axes[axis]
                      if (work, axis) != ('training', 'side') or value <= LARGEST_TRAINED]
            cases = [dict({**DEFAULTS, axis: value}, device=device, threads=threads) for value in values]
            seconds = [timed(prepared_growth(work, options), device, clock) for options in cases]
            memory = peak_extra_memories(prepared_growth, [(work, options) for options in cases], device)
            measured = np.square(values) if axis == 'side' else values
            rows.append(dict(work=work, axis=axis, values=values, seconds=seconds, extra_bytes=memory,
                             time_slope=slope(measured, seconds), memory_slope=slope(measured, memory)))
            print(growth_table(rows[-1:]), flush=True)
    return rows


def slope(values: Sequence[float], costs: Sequence[float]) -> float:
    """Fit the power with which costs grow with values, by least squares of their logarithms.

    Args:
        values (Sequence[float]): At least two different numbers above 0.
        costs (Sequence[float]): Their costs.
    """
    return float(np.polyfit(np.log(values), np.log(np.maximum(costs, 1e-9)), 1)[0])


def growth_table(rows: Sequence[Row]) -> PrettyTable:
    """Table of :func:`growth_rows`."""
    table = PrettyTable(['work', 'axis', 'values', 'seconds', 'time grows by power', 'MiB', 'memory by power'])
    for row in rows:
        table.add_row([
            row['work'], 'pixels' if row['axis'] == 'side' else row['axis'],
            ', '.join(f'{value}²' if row['axis'] == 'side' else str(value) for value in row['values']),
            ', '.join(f'{value:.3g}' for value in row['seconds']), f'{row["time_slope"]:.2f}',
            ', '.join(f'{value / 2**20:.3g}' for value in row['extra_bytes']), f'{row["memory_slope"]:.2f}'])
    return table

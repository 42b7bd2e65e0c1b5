"""Comparison of time and memory of two computations on a busy machine."""
import ctypes
import gc
import multiprocessing
import re
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Callable, Mapping, Sequence

import torch

Computation = Callable[[], Any]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Ratio:
    """Hold a ratio that was measured several times.

    Attributes:
        median (float): Of the single ratios.
        low, high (float): Smallest and largest single ratio.
    """
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numerators: Sequence[float], denominators: Sequence[float]) -> 'Ratio':
        """Compute the ratios of measurements that were taken in pairs.

        Raises:
            ValueError: If there are no pairs.
        """
        if not numerators or len(numerators) != len(denominators):
            raise ValueError(f'Ratios need pairs of measurements, got {len(numerators)} and {len(denominators)}.')
        ratios = [a / b for a, b in zip(numerators, denominators)]
        return cls(median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f'{self.median:.1f}x ({self.low:.1f}-{self.high:.1f})'


def timed(computation: Computation, device: str = 'cpu', clock: Clock = time.perf_counter) -> float:
    """Measure the seconds of one run; on a GPU until its work is done.

    Args:
        computation (Callable): What is timed.
        device (str): 'cpu' or 'cuda'.
        clock (Callable): By default wall-clock time. ``time.process_time`` leaves out what other programs take, which
            is fair where one thread computes.
    """
    synchronize(device)
    start = clock()
    computation()
    synchronize(device)
    return clock() - start


def alternate(computations: Mapping[str, Computation],
              repeats: int,
              device: str = 'cpu',
              clock: Clock = time.perf_counter) -> dict[str, list[float]]:
    """Time several computations in turns, A B A B ..., so that other load affects them equally.

    Args:
        computations (Mapping[str, Callable]): By name. Each runs once more before, untimed.
        repeats (int): Timed runs of each.
        device (str): 'cpu' or 'cuda'.
        clock (Callable): See :func:`timed`.

    Returns:
        dict[str, list[float]]: Seconds of each run.
    """
    for computation in computations.values():
        computation()
    seconds: dict[str, list[float]] = {name: [] for name in computations}
    for _ in range(repeats):
        for name, computation in computations.items():
            seconds[name].append(timed(computation, device, clock))
    return seconds


def synchronize(device: str) -> None:
    """Wait for the GPU, if it is one."""
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)


def peak_extra_memory(prepare: Callable[..., Computation], *args: Any, device: str = 'cpu') -> int:
    """Measure the bytes that a computation needs at its peak, beyond those in use before.

    On a GPU these are the bytes allocated by PyTorch. On a CPU it is resident memory, measured in a fresh process that
    returns freed blocks to the system at once, so that memory in use is counted here too, not what is kept for later.

    Args:
        prepare (Callable): A function of a module, not a lambda: called with ``args`` it makes the inputs and returns
            the computation. It should run something small of the same kind first, so that what libraries allocate on
            their first use is not counted.
        args: Picklable arguments of ``prepare``.
        device (str): 'cpu' or 'cuda'.
    """
    return peak_extra_memories(prepare, [args], device)[0]


def peak_extra_memories(prepare: Callable[..., Computation],
                        arguments: Sequence[tuple],
                        device: str = 'cpu') -> list[int]:
    """Measure several computations one after the other, in one fresh process; see :func:`peak_extra_memory`.

    Args:
        prepare (Callable): As for :func:`peak_extra_memory`.
        arguments (Sequence[tuple]): Arguments of ``prepare`` for each computation.
        device (str): 'cpu' or 'cuda'.
    """
    if torch.device(device).type == 'cuda':
        return [_allocated_peak(prepare(*args), device) for args in arguments]
    method = 'forkserver' if 'forkserver' in multiprocessing.get_all_start_methods() else 'spawn'
    context = multiprocessing.get_context(method)
    # Imports take longer than most measurements: they are done once, in the server from which the processes are forked.
    context.set_forkserver_preload(['mmfss.models'])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return [pool.submit(_resident_peak, prepare, args).result() for args in arguments]


def _allocated_peak(computation: Computation, device: str) -> int:
    gc.collect()
    synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    computation()
    return torch.cuda.max_memory_allocated(device) - before


def _resident_peak(prepare: Callable[..., Computation], args: tuple) -> int:
    _return_freed_memory()
    computation = prepare(*args)
    gc.collect()
    before = _restart_peak()
    computation()
    return max(0, _peak() - before)


def _return_freed_memory() -> None:
    """Make this process return large freed blocks to the system at once, if the C library is glibc.

    By default it keeps blocks of up to 32 MiB for later and loses room between them: memory in use would be counted
    together with memory that is free.
    """
    mmap_threshold = -3
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(mmap_threshold, 2**18)


def _restart_peak() -> int:
    """Reset the peak of resident memory, if the system can, and return the current peak in bytes.

    Where it cannot (macOS), the peak so far counts as the start, and too little is reported for small computations.
    """
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')
    return _peak()


def _peak() -> int:
    """Return the peak of resident memory in bytes."""
    with suppress(OSError):
        found = re.search(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text())
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)

"""Threads of the commands: one per core that the process was granted, asleep while they wait.

Every command calls :func:`set_up_threads` before all else. It sets two environment variables, which worker processes
and subprocesses inherit:

* ``OMP_WAIT_POLICY=passive``: a thread that waits for others gives its core away. By default OpenMP's threads spin, so
  on a machine that does anything else they take the core from the very thread they wait for.
* ``OMP_NUM_THREADS``: the cores granted by affinity and by the quota of the control group (containers). It does not
  depend on the load of the moment, which would change the last bits of results.

What the user has set stays. A process that a launcher started (torchrun, srun, mpirun) shares its machine with others:
there the number of threads is left to the launcher and to MMEngine.

OpenMP reads the environment once, when PyTorch is loaded. So this module imports the standard library only, and does
nothing where PyTorch is loaded already. A program that uses mmfss as a library keeps its environment.
"""
import os
import sys
from math import ceil
from pathlib import Path
from typing import Iterator, MutableMapping

# Each of these says how GNU's or LLVM's and Intel's OpenMP waits.
WAITING = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')
# Set by torchrun, srun and mpirun for each process.
LAUNCHED = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')


def granted_cores(root: Path = Path('/')) -> int:
    """Count the cores that this process may use.

    Args:
        root (Path): Where ``proc`` and ``sys`` are mounted.

    Returns:
        int: The smaller of affinity and quota (a part of a core counts as one), at least 1.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return max(1, min([affinity, *map(ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """List the cores that each control group of this process grants, from its own up to the topmost, where limited."""
    try:
        groups = (root / 'proc/self/cgroup').read_text().splitlines()
    except OSError:  # not Linux
        return
    mounts = root / 'sys/fs/cgroup'
    for line in groups:
        _, controllers, path = line.split(':', 2)
        if controllers == '':  # version 2
            base, names = mounts, ['cpu.max']
        elif 'cpu' in controllers.split(','):
            base, names = mounts / 'cpu', ['cpu.cfs_quota_us', 'cpu.cfs_period_us']
        else:
            continue
        # In a container the group's own folder may be mounted in place of the topmost one.
        group = base / path.lstrip('/')
        for folder in (group, *group.parents):
            if folder == mounts.parent:
                break
            try:
                quota, period = ' '.join((folder / name).read_text() for name in names).split()
            except (OSError, ValueError):  # no such folder, no limit at the top
                continue
            if quota not in ('max', '-1'):
                yield int(quota) / int(period)


def set_up_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what is not set yet; nothing once PyTorch is loaded.

    Args:
        environment (MutableMapping): The environment, changed in place.
    """
    if 'torch' in sys.modules:
        return
    if not any(name in environment for name in WAITING):
        environment['OMP_WAIT_POLICY'] = 'passive'
    if 'OMP_NUM_THREADS' not in environment and not any(name in environment for name in LAUNCHED):
        environment['OMP_NUM_THREADS'] = str(granted_cores())


def flush_denormals() -> None:
    """Count numbers below 1.2e-38 as zero.

    Saturated units have gradients that small, and processors compute with them many times more slowly: a training step
    of ScaleProtoSeg's head took 1.0 to 1.7 s in place of 0.11. Threads of OpenMP keep the setting of the thread that
    started them, so call this before PyTorch computes.

    Example:
        >>> import torch
        >>> from mmfss.utils.threads import flush_denormals
        >>> flush_denormals()
        >>> float(torch.tensor(1e-38) * 0.01)
        0.0
    """
    import torch

    torch.set_flush_denormal(True)

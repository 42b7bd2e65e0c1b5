"""Decisions that must not hang on rounding, which differs between CPUs, batches and numbers of threads."""
from torch import Tensor


def assert_decided(scores: Tensor, least: float, dim: int = 0) -> None:
    """Fail if the two largest scores along ``dim`` are anywhere nearer to each other than ``least``.

    What is compared after an argmax needs inputs of which this holds, with ``least`` well above rounding.
    """
    first, second = scores.topk(2, dim=dim).values.unbind(dim)
    gap = float((first - second).min())
    assert gap > least, f'A decision hangs on {gap:.1e}, wanted is more than {least:.1e}: choose other inputs.'

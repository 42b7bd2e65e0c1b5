"""Figures of reports: means of what is known, and their format."""
from statistics import mean
from typing import Iterable, Optional


def known_mean(values: Iterable[Optional[float]]) -> Optional[float]:
    """Compute the mean of the values that are not None; None if there is none.

    Example:
        >>> known_mean([1., None, 2.])
        1.5
    """
    values = [value for value in values if value is not None]
    return mean(values) if values else None


def table_figure(value: Optional[float], spec: str) -> str:
    """Format a figure, such as by the spec ``.2f``; ``-`` for None."""
    return '-' if value is None else f'{value:{spec}}'

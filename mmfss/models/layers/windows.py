"""Windows of maps, to compute only a part of a map through several layers."""
from dataclasses import dataclass
from math import floor
from typing import Sequence

import torch
from torch import Tensor

from .resizing import resize_aligned


@dataclass(frozen=True)
class Span:
    """Describe the positions ``start`` to ``stop - 1`` of an axis.

    Attributes:
        start, stop (int): Part of the axis.
        length (int): Length of the whole axis.
    """
    start: int
    stop: int
    length: int

    @property
    def whole(self) -> bool:
        """Whether the span is the whole axis."""
        return self.stop - self.start == self.length

    def grown(self, margin: int) -> 'Span':
        """Extend the span by ``margin`` positions at either end, within the axis."""
        return Span(max(0, self.start - margin), min(self.length, self.stop + margin), self.length)

    def source(self, length: int) -> 'Span':
        """Return the positions of an axis of another length that resizing with aligned corners interpolates here."""
        first, last = (self.position(index, length) for index in (self.start, self.stop - 1))
        return Span(floor(first), min(length, floor(last) + 2), length)

    def position(self, index: int, length: int) -> float:
        """Map position ``index`` of this axis to the axis of another length, corners aligned."""
        if length == self.length:
            return index
        return index * (length - 1) / (self.length - 1) if self.length > 1 else 0.


@dataclass(frozen=True)
class Window:
    """Describe a rectangle of a map.

    Attributes:
        rows, columns (Span): Its parts of the axes.
    """
    rows: Span
    columns: Span

    @classmethod
    def full(cls, size: Sequence[int]) -> 'Window':
        """Return the whole map of size (h, w)."""
        return cls(*(Span(0, side, side) for side in size))

    @classmethod
    def around(cls, weights: Tensor) -> 'Window':
        """Return the smallest window that holds all non-zero entries of maps (B, h, w); there must be some."""
        used = (weights != 0).any(0)
        spans = []
        for line in (used.any(1), used.any(0)):
            inside = line.nonzero().flatten().tolist()
            spans.append(Span(inside[0], inside[-1] + 1, len(line)))
        return cls(*spans)

    @property
    def size(self) -> tuple[int, int]:
        """Size (h, w) of the whole map."""
        return self.rows.length, self.columns.length

    def grown(self, margin: int) -> 'Window':
        """Extend the window by a margin on every side, as far as kernels reach."""
        return Window(self.rows.grown(margin), self.columns.grown(margin))

    def source(self, size: Sequence[int]) -> 'Window':
        """Return the window of a map of another size that resizing with aligned corners interpolates here."""
        return Window(self.rows.source(size[0]), self.columns.source(size[1]))

    def cut(self, x: Tensor) -> Tensor:
        """Crop whole maps (..., h, w) to this window; a view."""
        return x[..., self.rows.start:self.rows.stop, self.columns.start:self.columns.stop]

    def within(self, x: Tensor, outer: 'Window') -> Tensor:
        """Crop the content of a larger window of the same map to this window; a view."""
        rows, columns = (slice(mine.start - other.start, mine.stop - other.start)
                         for mine, other in ((self.rows, outer.rows), (self.columns, outer.columns)))
        return x[..., rows, columns]


def resize_window(x: Tensor, known: Window, wanted: Window) -> Tensor:
    """Compute a window of maps that are resized with aligned corners, from a known window of the maps.

    Args:
        x (Tensor): Maps within ``known``, (B, C, h, w).
        known (Window): At least ``wanted.source(known.size)``.
        wanted (Window): A part of the resized maps.

    Returns:
        Tensor: The wanted window of the resized maps.
    """
    if all(span.whole for window in (known, wanted) for span in (window.rows, window.columns)):
        return resize_aligned(x, wanted.size)
    for axis, have, want in ((-2, known.rows, wanted.rows), (-1, known.columns, wanted.columns)):
        x = _resize_axis(x, axis, have, want)
    return x


def _resize_axis(x: Tensor, axis: int, known: Span, wanted: Span) -> Tensor:
    if known.length == wanted.length:
        return x.narrow(axis, wanted.start - known.start, wanted.stop - wanted.start)
    positions = torch.tensor([wanted.position(index, known.length) for index in range(wanted.start, wanted.stop)],
                             dtype=torch.float64, device=x.device)
    low = positions.floor().long().clamp(max=known.length - 1)
    high = (low + 1).clamp(max=known.length - 1)
    fraction = (positions - low).to(x.dtype)
    below, above = (x.index_select(axis, index - known.start) for index in (low, high))
    return below.lerp(above, fraction if axis == -1 else fraction[:, None])

import pytest
import torch
from torch import nn

from mmfss.models.layers import Window, resize_aligned, resize_window
from mmfss.models.layers.windows import Span


@pytest.mark.parametrize(('small', 'large'), [((6, 9), (12, 18)), ((5, 7), (13, 9)), ((8, 8), (8, 8)), ((4, 1), (9, 3)),
                                              ((9, 12), (5, 6))])
@pytest.mark.parametrize(('rows', 'columns'), [((0, 1), (2, 3)), ((1, 4), (0, 3)), ((2, 5), (1, 2)), ((0, 5), (0, 3))])
def test_resizing_a_window(small: tuple, large: tuple, rows: tuple, columns: tuple) -> None:
    maps = torch.randn(2, 3, *small, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = Window(Span(*rows, large[0]), Span(*columns, large[1]))
    known = wanted.source(small)
    expected = wanted.cut(resize_aligned(maps, large))
    for window in (known, known.grown(1), Window.full(small)):
        torch.testing.assert_close(resize_window(window.cut(maps), window, wanted), expected, rtol=0, atol=1e-12)


def test_source_is_the_least() -> None:
    # Positions 2 and 3 of 9 lie at 1 and 1.5 of 5.
    assert Span(2, 4, 9).source(5) == Span(1, 3, 5)
    assert Span(8, 9, 9).source(5) == Span(4, 5, 5)
    assert Span(2, 4, 9).source(9) == Span(2, 5, 9)


def test_window_of_convolutions() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1)).double()
    maps = torch.randn(1, 1, 10, 12, dtype=torch.float64)
    for rows, columns in (((0, 2), (5, 7)), ((9, 10), (11, 12)), ((4, 6), (1, 3))):
        window = Window(Span(*rows, 10), Span(*columns, 12))
        outer = window.grown(2)
        part = window.within(layers(outer.cut(maps)), outer)
        torch.testing.assert_close(part, window.cut(layers(maps)), rtol=0, atol=1e-12)


def test_around() -> None:
    weights = torch.zeros(2, 6, 8)
    weights[0, 2, 3] = weights[1, 4, 1] = -1
    assert Window.around(weights) == Window(Span(2, 5, 6), Span(1, 4, 8))
    assert Window.around(torch.ones(1, 6, 8)) == Window.full((6, 8))

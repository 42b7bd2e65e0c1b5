"""Procedural surface patterns of the shapes dataset: stripes, dots, bricks, wood ...

A pattern is a function ``(u, v, softness, rng) -> ink``: ``u`` and ``v`` are surface coordinates in periods of the
pattern, ``softness`` is the size of a pixel in the same unit (edges are smoothed over it, so that fine patterns do not
alias) and ``ink`` in [0, 1] says how much of the second of two colours a point has. All arrays have shape (H, W),
float32. ``rng`` is used by irregular patterns only, so that no two pieces of wood are the same.
"""
from typing import Callable

import numpy as np
from numpy import ndarray
from numpy.random import RandomState

from .noise import cell_values, fractal_noise, scattered_cells, value_noise

Pattern = Callable[[ndarray, ndarray, float, RandomState], ndarray]


def _step(distance: ndarray, softness: float) -> ndarray:
    """1 where the signed distance (in periods) is positive, 0 where negative, a ramp one pixel wide between."""
    return np.clip(distance / np.float32(max(softness, 1e-3)) + np.float32(0.5), 0, 1)


def _centred(t: ndarray) -> ndarray:
    """Offset from the centre of the unit cell that holds t, in [-0.5, 0.5)."""
    return t - np.floor(t) - np.float32(0.5)


def _zigzag_wave(t: ndarray) -> ndarray:
    """Triangle wave of period 1, values 0 (at integers) .. 0.5."""
    return np.float32(0.5) - np.abs(_centred(t))


def _parity(t: ndarray) -> ndarray:
    """Whether the cell number of t is odd."""
    return (np.floor(t).astype(np.int32) & 1).astype(bool)


def stripes(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Straight bands of equal width."""
    return _step(np.abs(_centred(u)) - 0.25, softness)


def zigzag(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Bands bent into chevrons."""
    return _step(np.abs(_centred(v + 1.3 * _zigzag_wave(u * 0.7))) - 0.25, softness)


def wood(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Wavy growth rings, each darkening slowly and ending sharply, with fine fibres along them."""
    rings = v * 0.6 + 0.8 * value_noise(rng, u.shape[0], 2)
    fibres = np.abs(_centred(rings * 4 + 0.5 * value_noise(rng, u.shape[0], 4)))
    return 0.75 * (rings - np.floor(rings)) ** 2 + 0.5 * fibres


def marble(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Irregular veins where turbulence passes zero, on a cloudy ground."""
    turbulence = np.minimum(np.abs(fractal_noise(rng, u.shape[0], 4, 3, 0.5)),
                            np.abs(fractal_noise(rng, u.shape[0], 4, 3, 0.5)))
    return np.clip(np.exp(-18 * turbulence) + 0.35 * np.abs(fractal_noise(rng, u.shape[0], 3, 3)), 0, 1)


def dots(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Discs in staggered rows."""
    u = u + np.where(_parity(v), np.float32(0.5), np.float32(0))
    return _step(0.31 - np.hypot(_centred(u), _centred(v)), softness)


def pluses(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Small crosses on a square lattice."""
    x, y = np.abs(_centred(u * 0.85)), np.abs(_centred(v * 0.85))
    arm = np.minimum(0.14 - np.minimum(x, y), 0.4 - np.maximum(x, y))
    return _step(arm, softness)


def triangles(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Triangular tiling in two alternating colours."""
    a, b = _centred(v * 0.8), _centred(u * 0.7 + v * 0.4)
    c = _centred(u * 0.7 - v * 0.4)
    sign = np.sign(a) * np.sign(b) * np.sign(c)
    edge = np.minimum(np.minimum(np.abs(a), 0.5 - np.abs(a)),
                      np.minimum(np.minimum(np.abs(b), 0.5 - np.abs(b)), np.minimum(np.abs(c), 0.5 - np.abs(c))))
    return _step(sign * edge, softness)


def rosettes(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Irregular open rings, as on a leopard."""
    return _step(0.12 - np.abs(scattered_cells(u * 0.75, v * 0.75, rng, 0.6).nearest - 0.28), softness)


def cracks(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Dark patches divided by light seams, as on a giraffe or dried mud."""
    cells = scattered_cells(u * 0.7, v * 0.7, rng, 0.9)
    return _step(cells.second - cells.nearest - 0.16, softness)


def bricks(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Staggered oblongs with mortar between, some bricks darker than others."""
    u = u * 0.5 + np.where(_parity(v), np.float32(0.5), np.float32(0))
    shade = cell_values(u, v, rng)
    inside = np.minimum((0.5 - np.abs(_centred(u))) * 2, 0.5 - np.abs(_centred(v))) - 0.1
    return _step(inside, softness) * (0.7 + 0.3 * shade)


def honeycomb(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Hexagonal cells with thin walls."""
    u, v = u * 0.75, v * 0.75
    root3 = np.float32(1.7320508)
    best = np.full(u.shape, -9, np.float32)
    for shift in (0.0, 0.5):
        x, y = np.abs(_centred(u + shift)), np.abs(_centred(v / root3 + shift)) * root3
        best = np.maximum(best, 0.5 - np.maximum(x, x * 0.5 + y * root3 * 0.5))
    return _step(best - 0.08, softness)


def scales(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Overlapping rows of round scales with dark rims, each shaded from root to rim."""
    ink = np.zeros(u.shape, np.float32)
    v = v * 1.6
    # Later rows lie above earlier ones: a point takes the lowest row whose disc still covers it.
    for row in (1, 0):
        number = np.floor(v) - row
        x = _centred(u + np.where(_parity(number), np.float32(0.5), np.float32(0)))
        radius = np.hypot(x, (v - number) / 1.6) * 2
        cover = _step(0.5 * (1.25 - radius), softness)
        shade = np.clip(1.35 * radius - 0.5, 0, 1) * _step(0.5 * (1.08 - radius), softness)
        ink = ink * (1 - cover) + shade * cover
    return ink


def checks(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Chessboard."""
    a, b = _zigzag_wave(u * 0.6) - 0.25, _zigzag_wave(v * 0.6) - 0.25
    return _step(np.sign(a * b) * np.minimum(np.abs(a), np.abs(b)), softness)


def plaid(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Two crossing sets of wide bands and hair lines that add up where they cross."""
    total = np.zeros(u.shape, np.float32)
    for t in (u, v):
        offset = np.abs(_centred(t * 0.5))
        total += 0.42 * _step(0.17 - offset, softness) + 0.3 * _step(0.05 - np.abs(offset - 0.36), softness)
    return np.clip(total, 0, 1)


def weave(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Basket weave: blocks of three strands, alternately along u and along v, rounded at their ends."""
    u, v = u * 0.55, v * 0.55
    odd = _parity(u) ^ _parity(v)
    across, along = np.where(odd, u, v), np.where(odd, v, u)
    strand = np.abs(_centred(across * 3)) * 2
    bulge = 1 - 0.6 * (2 * _centred(along)) ** 2
    return np.clip((1.1 - strand ** 2) * bulge, 0, 1)


def maze(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Truchet tiles: quarter circles turned at random join into winding paths."""
    u, v = u * 0.9, v * 0.9
    flip = cell_values(u, v, rng) < 0.5
    x, y = u - np.floor(u), v - np.floor(v)
    x = np.where(flip, 1 - x, x)
    near = np.minimum(np.abs(np.hypot(x, y) - 0.5), np.abs(np.hypot(1 - x, 1 - y) - 0.5))
    return _step(0.17 - near, softness)


def pinstripes(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Pairs of thin lines far apart."""
    return _step(0.08 - np.abs(np.abs(_centred(u * 0.6)) - 0.14), 0.6 * softness)


def waves(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Bands bent into smooth regular waves."""
    bend = _zigzag_wave(u * 0.42) * 2
    return _step(np.abs(_centred(v + 0.9 * bend * bend * (3 - 2 * bend))) - 0.25, softness)


def herringbone(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Columns of slanted strokes, leaning left and right in turn."""
    lean = np.where(_parity(u * 0.7), v + u, v - u)
    gap = 0.5 - np.abs(_centred(u * 0.7))
    return _step(np.minimum(0.27 - np.abs(_centred(lean * 0.9)), gap - 0.06), softness)


def patches(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Large irregular patches, as on a cow."""
    size = u.shape[0]
    field = value_noise(rng, size, max(3, round(float(np.ptp(u)) * 0.75)))
    return _step(field - 0.2, 2 * softness)


def hoops(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Small rings on a square lattice."""
    return _step(0.1 - np.abs(np.hypot(_centred(u * 0.8), _centred(v * 0.8)) - 0.28), softness)


def saltires(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Slanted crosses in staggered rows."""
    u = u * 0.8 + np.where(_parity(v * 0.8), np.float32(0.5), np.float32(0))
    x, y = np.abs(_centred(u)), np.abs(_centred(v * 0.8))
    return _step(np.minimum(0.15 - np.abs(x - y), 0.36 - np.maximum(x, y)), softness)


def lozenges(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Tall diamonds in two alternating colours, as on a harlequin."""
    a, b = _centred(0.5 * u + 0.32 * v), _centred(0.5 * u - 0.32 * v)
    edge = np.minimum(np.minimum(np.abs(a), 0.5 - np.abs(a)), np.minimum(np.abs(b), 0.5 - np.abs(b)))
    return _step(np.sign(a * b) * edge, softness)


def speckles(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Small spots strewn irregularly."""
    return _step(0.24 - scattered_cells(u * 1.1, v * 1.1, rng, 0.95).nearest, softness)


def tiles(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Square tiles with thin joints."""
    inside = 0.5 - np.maximum(np.abs(_centred(u * 0.75)), np.abs(_centred(v * 0.75)))
    return _step(inside - 0.09, softness)


def netting(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Thin threads crossing at a slant, knotted where they meet."""
    a, b = _centred(0.6 * u + 0.45 * v), _centred(0.6 * u - 0.45 * v)
    thread = 0.08 - np.minimum(np.abs(a), np.abs(b))
    return _step(np.maximum(thread, 0.17 - np.hypot(a, b)), softness)


def arches(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Rows of nested arcs, as the waves of Japanese prints."""
    ink = np.zeros(u.shape, np.float32)
    u, v = u * 0.6, v * 1.2
    for row in (1, 0):
        number = np.floor(v) - row
        x = _centred(u + np.where(_parity(number), np.float32(0.5), np.float32(0)))
        radius = np.hypot(x, (v - number) / 2) * 2
        cover = _step(0.5 * (1 - radius), softness)
        ink = ink * (1 - cover) + _step(np.abs(_centred(radius * 2.5)) - 0.25, 2.5 * softness) * cover
    return ink


def mosaic(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Irregular stones, each of its own shade, few of them strong."""
    return scattered_cells(u, v, rng, 0.9).value ** 2


def pixels(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Square blocks, dark or light at random."""
    return (cell_values(u * 1.5, v * 1.5, rng) < 0.5).astype(np.float32)


def gingham(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Two crossing sets of equal bands, half as strong where only one lies."""
    bands = [_step(0.25 - np.abs(_centred(t * 0.7)), 0.7 * softness) for t in (u, v)]
    return 0.5 * (bands[0] + bands[1])


def ladders(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Bands of rungs between rails."""
    x = np.abs(_centred(u * 0.5))
    rungs = np.minimum(0.18 - np.abs(_centred(v * 1.2)) * 0.8, 0.3 - x)
    return _step(np.maximum(rungs, 0.055 - np.abs(x - 0.3)), 0.7 * softness)


def slashes(u: ndarray, v: ndarray, softness: float, rng: RandomState) -> ndarray:
    """Diagonal strokes, each leaning left or right at random."""
    u, v = u * 0.8, v * 0.8
    flip = cell_values(u, v, rng) < 0.5
    x, y = _centred(u), _centred(v)
    return _step(0.16 - np.abs(np.where(flip, x + y, x - y)) * 0.7, softness)

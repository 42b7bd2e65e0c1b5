"""Smooth noise and random cells, from which the shapes dataset makes its grounds and irregular patterns."""
from typing import NamedTuple

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import RandomState

TABLE = 32  # random cells repeat after this many


def value_noise(rng: RandomState, size: int, cells: int, cells_y: int | None = None) -> ndarray:
    """Draw smooth random values: a coarse random grid, interpolated.

    Args:
        rng (RandomState): Source of randomness.
        size (int): Side of the result in pixels.
        cells (int): Grid cells along x, at least 1; more cells make finer noise.
        cells_y (int | None): Grid cells along y. Default: as along x.

    Returns:
        ndarray: Values of about [-1, 1], shape (size, size), float32.
    """
    grid = rng.random_sample((cells + 1 if cells_y is None else cells_y + 1, cells + 1)).astype(np.float32)
    return cv2.resize(grid * 2 - 1, (size, size), interpolation=cv2.INTER_CUBIC)


def fractal_noise(rng: RandomState, size: int, cells: int = 3, octaves: int = 4, gain: float = 0.6) -> ndarray:
    """Add up value noise of doubling frequency.

    Args:
        rng (RandomState): Source of randomness.
        size (int): Side of the result in pixels.
        cells (int): Grid cells of the first octave.
        octaves (int): Number of octaves; stops early when a cell would be smaller than a pixel.
        gain (float): Amplitude of an octave relative to the one before.

    Returns:
        ndarray: Values of about [-1, 1], shape (size, size), float32.
    """
    total, amplitude, norm = np.zeros((size, size), np.float32), 1.0, 0.0
    for _ in range(octaves):
        if cells >= size:
            break
        total += np.float32(amplitude) * value_noise(rng, size, cells)
        norm += amplitude
        amplitude *= gain
        cells *= 2
    return total / np.float32(norm)


def cell_values(u: ndarray, v: ndarray, rng: RandomState) -> ndarray:
    """One random value in [0, 1) for each unit cell of the (u, v) plane; shape of u and v, float32."""
    table = rng.random_sample((TABLE, TABLE)).astype(np.float32)
    return table[_cell(v), _cell(u)]


class Cells(NamedTuple):
    """Where points lie among randomly scattered centres; arrays of the points' shape, float32.

    Attributes:
        nearest (ndarray): Distance to the nearest centre, in cells.
        second (ndarray): Distance to the second nearest.
        value (ndarray): A random value in [0, 1) that belongs to the nearest centre.
    """
    nearest: ndarray
    second: ndarray
    value: ndarray


def scattered_cells(u: ndarray, v: ndarray, rng: RandomState, jitter: float) -> Cells:
    """Worley noise: one centre in each unit cell of the (u, v) plane, moved at random.

    Args:
        u (ndarray): First coordinate, shape (H, W), float32.
        v (ndarray): Second coordinate.
        rng (RandomState): Source of randomness.
        jitter (float): How far a centre may be moved: 0 a lattice, 1 anywhere in its cell.

    Returns:
        Cells: Distances to the centres.
    """
    table = rng.random_sample((3, TABLE, TABLE)).astype(np.float32)
    table[:2] = (table[:2] - np.float32(0.5)) * np.float32(jitter)
    du, dv = (t - np.floor(t) - np.float32(0.5) for t in (u, v))
    column, row = _cell(u), _cell(v)
    nearest = np.full(u.shape, 9, np.float32)
    second, value = nearest, nearest
    for y in (-1, 0, 1):
        for x in (-1, 0, 1):
            shift_u, shift_v, own = table[:, (row + y) % TABLE, (column + x) % TABLE]
            distance = (du - x - shift_u)**2 + (dv - y - shift_v)**2
            second = np.minimum(second, np.maximum(nearest, distance))
            value = np.where(distance < nearest, own, value)
            nearest = np.minimum(nearest, distance)
    return Cells(np.sqrt(nearest), np.sqrt(second), value)


def _cell(t: ndarray) -> ndarray:
    return np.floor(t).astype(np.int32) % TABLE

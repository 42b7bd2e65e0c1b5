"""Weights and inputs that need no file: every array is a function of its name, its shape and a seed.

The reference numbers under ``tests/data`` were computed from arrays drawn by these rules, so the order of random draws
below is part of the data format. Two implementations that agree on the names of the parameters hold the same numbers,
in whatever order they build their modules.
"""
import fnmatch
import zlib
from typing import Mapping, Sequence

import numpy as np


def seeded_array(name: str, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Draw standard-normal numbers that depend only on the arguments.

    Args:
        name (str): Name of the array; its CRC-32 is mixed into the seed.
        shape (Sequence[int]): Shape of the result.
        seed (int): Seed shared by the arrays of one experiment.

    Returns:
        np.ndarray: float32 array of the given shape.
    """
    return _generator(name, seed).standard_normal(tuple(shape)).astype(np.float32)


def seeded_image(name: str, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Draw smooth images of about unit scale: six slow waves and a little noise, so that attention is not flat.

    Args:
        name (str): Name of the array.
        shape (Sequence[int]): Shape (..., H, W).
        seed (int): Seed.

    Returns:
        np.ndarray: float32 array of the given shape.
    """
    rng = _generator(name, seed)
    rows, cols = _unit_grid(*shape[-2:])
    images = np.zeros((_count(shape), *rows.shape))
    for image in images:
        for _ in range(6):
            row_frequency, col_frequency = rng.uniform(0.5, 6, 2)
            amplitude = rng.standard_normal()
            phase = rng.uniform(0, 2 * np.pi)
            image += amplitude * np.sin(2 * np.pi * (row_frequency * rows + col_frequency * cols) + phase)
    images = images / 2 + 0.1 * rng.standard_normal(images.shape)
    return images.reshape(shape).astype(np.float32)


def seeded_mask(name: str, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Draw binary masks with one ellipse each; none is empty.

    Args:
        name (str): Name of the array.
        shape (Sequence[int]): Shape (..., H, W).
        seed (int): Seed.

    Returns:
        np.ndarray: float32 array of the given shape, values 0 and 1.
    """
    rng = _generator(name, seed)
    rows, cols = _unit_grid(*shape[-2:])
    masks = np.zeros((_count(shape), *rows.shape))
    for mask in masks:
        row, col = rng.uniform(0.3, 0.7, 2)
        height, width = rng.uniform(0.12, 0.3, 2)
        mask[:] = ((rows - row) / height)**2 + ((cols - col) / width)**2 <= 1
    return masks.reshape(shape).astype(np.float32)


def seeded_state_dict(shapes: Mapping[str, Sequence[int]],
                      seed: int = 0,
                      gains: Sequence[tuple[str, float]] = ()) -> dict[str, np.ndarray]:
    """Draw the parameters and running statistics of a network.

    With x = ``seeded_array(name, shape, seed)`` and g the gain of the name: a running variance is 1 + 0.1 |x|, a
    running mean 0.1 x, the scale of a norm (1-D ``weight``) g + 0.1 x, another 1-D parameter 0.05 g x, and everything
    else g x / sqrt(number of inputs of one output).

    Args:
        shapes (Mapping[str, Sequence[int]]): Shape of each name. Integer buffers and computed tables do not belong
            here.
        seed (int): Seed.
        gains (Sequence[tuple[str, float]]): Pairs of a glob pattern and a gain; the first that matches a name counts.

    Returns:
        dict[str, np.ndarray]: float32 arrays under the same names.
    """
    return {name: _seeded_parameter(name, tuple(shape), seed, _gain(name, gains)) for name, shape in shapes.items()}


def _seeded_parameter(name: str, shape: tuple[int, ...], seed: int, gain: float) -> np.ndarray:
    x = seeded_array(name, shape, seed)
    if name.endswith('running_var'):
        x = 1 + 0.1 * np.abs(x)
    elif name.endswith('running_mean'):
        x = 0.1 * x
    elif len(shape) == 1 and name.endswith('weight'):
        x = gain + 0.1 * x
    elif len(shape) <= 1:
        x = 0.05 * gain * x
    else:
        x = gain * x / np.sqrt(np.prod(shape[1:]))
    return x.astype(np.float32)


def _gain(name: str, gains: Sequence[tuple[str, float]]) -> float:
    return next((gain for pattern, gain in gains if fnmatch.fnmatch(name, pattern)), 1.0)


def _generator(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape[:-2]))


def _unit_grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing='ij')
    return rows, cols

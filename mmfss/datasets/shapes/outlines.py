"""Outlines of the shapes dataset: disc, heart, star ... as polygons.

An outline is a list of closed loops, each an array (P, 2) of (x, y) points in the square [-1, 1], y down; loops are
filled by the even-odd rule, so a loop inside another is a hole.
"""
import numpy as np
from numpy import ndarray

Outline = list[ndarray]


def _points(*xy: tuple[float, float]) -> Outline:
    return [np.array(xy, dtype=np.float64)]


def _polar(radius: ndarray, angle: ndarray) -> Outline:
    return [np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=1)]


def _angles(count: int) -> ndarray:
    return np.arange(count) * (2 * np.pi / count)


def _regular(corners: int, turn: float = 0.0, radius: float = 1.0) -> Outline:
    return _polar(np.full(corners, radius), _angles(corners) + turn)


def _gear(teeth: int) -> Outline:
    angle = _angles(4 * teeth)
    return _polar(np.where(np.arange(4 * teeth) % 4 < 2, 1.0, 0.74), angle)


def _star(points: int, inner: float) -> Outline:
    return _polar(np.where(np.arange(2 * points) % 2 == 0, 1.05, inner), _angles(2 * points))


def _heart() -> Outline:
    t = _angles(64)
    x = np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
    return [np.stack([x, y], axis=1)]


def _drop() -> Outline:
    t = _angles(64)
    return [np.stack([0.95 * np.sin(t) * np.sin(t / 2) ** 1.3, -np.cos(t)], axis=1)]


def _crescent() -> Outline:
    outer = np.linspace(0.28 * np.pi, 1.72 * np.pi, 48)
    tip = np.array([np.cos(outer[0]), np.sin(outer[0])])
    centre = 0.75
    inner_radius = np.hypot(tip[0] - centre, tip[1])
    half = np.arctan2(tip[1], tip[0] - centre)
    inner = np.linspace(2 * np.pi - half, half, 32)
    arc = np.stack([centre + inner_radius * np.cos(inner), inner_radius * np.sin(inner)], axis=1)
    return [np.concatenate([np.stack([np.cos(outer), np.sin(outer)], axis=1), arc]) + [0.25, 0]]


def _half_disc() -> Outline:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 32)
    return [_polar(np.full(32, 1.05), angle)[0] + [0, 0.5]]


OUTLINES: dict[str, Outline] = {
    'disc': _regular(48, radius=0.95),
    'arrow': _points((0, -1), (0.95, 0), (0.5, 0), (0.5, 1), (-0.5, 1), (-0.5, 0), (-0.95, 0)),
    'star': _star(5, 0.56),
    'heart': _heart(),
    'square': _regular(4, np.pi / 4, 1.15),
    'hexagon': _regular(6, np.pi / 6),
    'crescent': _crescent(),
    'drop': _drop(),
    'cross': _points((-0.4, -1), (0.4, -1), (0.4, -0.4), (1, -0.4), (1, 0.4), (0.4, 0.4), (0.4, 1), (-0.4, 1),
                     (-0.4, 0.4), (-1, 0.4), (-1, -0.4), (-0.4, -0.4)),
    'half-moon': _half_disc(),
    'triangle': _points((0, -1), (1.05, 0.85), (-1.05, 0.85)),
    'ring': _regular(48) + _regular(32, radius=0.36),
    'tee': _points((-1, -0.95), (1, -0.95), (1, -0.2), (0.4, -0.2), (0.4, 1), (-0.4, 1), (-0.4, -0.2), (-1, -0.2)),
    'flower': _polar(0.82 + 0.2 * np.cos(6 * _angles(72)), _angles(72)),
    'bracket': _points((-0.9, -1), (-0.05, -1), (-0.05, 0.15), (0.95, 0.15), (0.95, 0.95), (-0.9, 0.95)),
    'gear': _gear(8),
}
"""Outline name -> loops, each (P, 2)."""

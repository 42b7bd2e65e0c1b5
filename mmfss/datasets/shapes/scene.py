"""One picture of the shapes dataset: textured objects on a textured ground, lit, blurred and noisy like a photograph.

What is class and what is chance: a class owns an outline and a surface pattern, dark on light or light on dark; place,
size, turn, proportions, the two colours, scale and distortion of the pattern, light and shadow are drawn anew for every
object, colours from the same distribution for objects of all classes, ground and clutter.
"""
from typing import NamedTuple

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import RandomState

from .classes import CLASSES, FAMILIES, MEMBERS
from .noise import fractal_noise, value_noise
from .outlines import OUTLINES

OBJECTS_PER_SCENE = 3
OBJECT_SIZES = (0.36, 0.58)  # diameter of an object relative to the image's side
MAX_TURN = np.pi / 12
MIN_VISIBLE = 0.6  # part of every object that no other object and no border may hide
PERIODS = (7.5, 10.0)  # period of a pattern in pixels, at 128 pixels
MIN_CONTRAST = 0.28  # difference in luminance of the two colours of a pattern
MAX_DRIFT = np.float32(0.3)  # distortion of a pattern in periods
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


class Scene(NamedTuple):
    """A rendered picture.

    Attributes:
        image (ndarray): RGB, shape (S, S, 3), uint8.
        class_ids (list[int]): 0-based class of each object, all of different families.
        masks (list[ndarray]): Visible part of each object, shape (S, S), bool; they do not overlap.
    """
    image: ndarray
    class_ids: list[int]
    masks: list[ndarray]


def _colours(rng: RandomState, count: int) -> ndarray:
    """Draw RGB colours in [0, 1], shape (count, 3, 1, 1): any hue, mostly muted, any brightness."""
    hue, saturation, value = rng.random_sample((3, count, 1))
    ramp = np.clip(np.abs((6 * hue - np.array([0, 2, 4]) + 3) % 6 - 3) - 1, 0, 1)
    colours = (0.15 + 0.8 * value) * (1 - 0.85 * saturation**1.2 * ramp)
    return colours.astype(np.float32)[..., None, None]


def _colour_pair(rng: RandomState) -> tuple[ndarray, ndarray]:
    """Draw a light and a dark colour that differ enough in luminance for a pattern in them to be seen."""
    while True:
        # Several at once, because most pairs do not differ enough.
        light, dark = _colours(rng, 32).reshape(2, 16, 3, 1, 1)
        contrast = ((light - dark)[..., 0, 0] * LUMINANCE).sum(1)
        fitting = np.flatnonzero(contrast > MIN_CONTRAST)
        if fitting.size:
            return light[fitting[0]], dark[fitting[0]]


def _blend(below: ndarray, above: ndarray, alpha: ndarray) -> ndarray:
    """Mix planes (3, h, w) or colours (3, 1, 1) by coverage (h, w)."""
    return below + (above - below) * alpha


def _ground(rng: RandomState, side: int) -> ndarray:
    """Paint a background without objects: clouds of three colours, grain and clutter; (3, S, S) in [0, 1]."""
    first, second = _colour_pair(rng)
    mix = np.clip(0.5 + fractal_noise(rng, side, rng.randint(2, 6), 5, rng.uniform(0.5, 0.9)), 0, 1)
    ground = _blend(first, second, mix)
    ground = _blend(ground, _colours(rng, 1)[0], np.clip(1.4 * fractal_noise(rng, side, 2, 3), 0, 0.8))
    grain = value_noise(rng, side, rng.randint(side // 12, side // 2), rng.randint(side // 6, side // 2))
    ground *= 1 + np.float32(rng.uniform(0.1, 0.35)) * grain
    for _ in range(rng.randint(2, 7)):
        _add_clutter(rng, ground)
    return ground


def _add_clutter(rng: RandomState, ground: ndarray) -> None:
    """Put one patternless pebble or leaf on the ground, in place."""
    side = ground.shape[1]
    size = side // 4
    blob = np.zeros((size, size), np.uint8)
    axes = (rng.uniform(0.1, 0.49, 2) * size).astype(int) + 1
    cv2.ellipse(blob, (size // 2, size // 2), (int(axes[0]), int(axes[1])), float(rng.randint(0, 180)), 0, 360, 255, -1,
                cv2.LINE_AA)
    first, second = _colours(rng, 2)
    mix = np.clip(0.5 + fractal_noise(rng, size, 2, 3), 0, 1)
    left, top = rng.randint(0, side - size, 2)
    window = ground[:, top:top + size, left:left + size]
    window[:] = _blend(window, _blend(first, second, mix), blob.astype(np.float32) / 255)


class _Placement(NamedTuple):
    """Where an object lies: its polygon in pixels and the pose that its surface shares."""
    loops: list[ndarray]
    centre: ndarray
    turn: float


def _place(rng: RandomState, class_id: int, side: int) -> _Placement:
    """Draw size, proportions, turn and position of an object."""
    radius = rng.uniform(*OBJECT_SIZES) * side / 2
    scale = radius * np.exp(rng.uniform(-0.15, 0.15) * np.array([1, -1]))
    turn = rng.uniform(-MAX_TURN, MAX_TURN)
    cos, sin = np.cos(turn), np.sin(turn)
    centre = rng.uniform(0.8 * radius, side - 0.8 * radius, 2)
    rotation = np.array([[cos, sin], [-sin, cos]])
    loops = [(loop * scale) @ rotation + centre for loop in OUTLINES[CLASSES[class_id].outline]]
    return _Placement(loops, centre, turn)


def _silhouette(loops: list[ndarray], side: int) -> ndarray:
    """Fill a polygon, edges smoothed: coverage in [0, 1], shape (S, S)."""
    canvas = np.zeros((side, side), np.uint8)
    cv2.fillPoly(canvas, [np.round(loop * 16).astype(np.int32) for loop in loops], 255, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255


def _full_area(loops: list[ndarray]) -> float:
    """Area of a polygon with holes, in pixels: the outer loop comes first."""
    areas = [abs(float(np.sum(p[:, 0] * np.roll(p[:, 1], 1) - p[:, 1] * np.roll(p[:, 0], 1)))) / 2 for p in loops]
    return areas[0] - sum(areas[1:])


def _layout(rng: RandomState, class_ids: list[int], side: int) -> tuple[list[_Placement], list[ndarray], list[ndarray]]:
    """Draw placements until enough of every object is to be seen; later objects lie above earlier ones.

    Returns:
        tuple[list[_Placement], list[ndarray], list[ndarray]]: Per object its placement, coverage and visible mask.
    """
    while True:
        places = [_place(rng, class_id, side) for class_id in class_ids]
        alphas = [_silhouette(place.loops, side) for place in places]
        free = np.ones((side, side), bool)
        masks = []
        for alpha in reversed(alphas):
            solid = alpha > 0.5
            masks.insert(0, solid & free)
            free &= ~solid
        if all(m.sum() > MIN_VISIBLE * _full_area(p.loops) for m, p in zip(masks, places)):
            return places, alphas, masks


def _window(place: _Placement, side: int) -> tuple[slice, slice]:
    """Square window (rows, columns) of the picture that holds all of an object that lies within the picture."""
    points = place.loops[0]
    low = np.clip(np.floor(points.min(0)).astype(int) - 1, 0, side)
    high = np.clip(np.ceil(points.max(0)).astype(int) + 2, 0, side)
    size = int((high - low).max())
    left, top = (int(c) for c in np.minimum(low, side - size))
    return slice(top, top + size), slice(left, left + size)


def _surface(rng: RandomState, class_id: int, place: _Placement, window: tuple[slice, slice], side: int) -> ndarray:
    """Paint an object's surface, shape (3, h, w), all over its window; only the silhouette will be used."""
    _, _, pattern, dark = CLASSES[class_id]
    period = rng.uniform(*PERIODS) * side / 128
    turn = place.turn + dark * np.pi / 4
    cos, sin = np.float32(np.cos(turn) / period), np.float32(np.sin(turn) / period)
    y = np.arange(window[0].start, window[0].stop, dtype=np.float32)[:, None] - np.float32(place.centre[1])
    x = np.arange(window[1].start, window[1].stop, dtype=np.float32) - np.float32(place.centre[0])
    phase = rng.uniform(0, 16, 2).astype(np.float32)
    # The surface is not flat: coordinates drift by a fraction of a period.
    size = x.size
    u = x * cos + y * sin + phase[0] + MAX_DRIFT * value_noise(rng, size, 3)
    v = y * cos - x * sin + phase[1] + MAX_DRIFT * value_noise(rng, size, 3)
    ground, print_colour = _colour_pair(rng)[::-1 if dark else 1]
    surface = _blend(ground, print_colour, pattern(u, v, 1 / period, rng))
    return surface * (1 + np.float32(0.15) * fractal_noise(rng, size, 4, 4))


def _relief(alpha: ndarray, light: ndarray) -> ndarray:
    """Light an object as a pillow: bright on the rim that faces the light, dark on the other; factors, shape (S, S)."""
    height = cv2.GaussianBlur(alpha, (0, 0), alpha.shape[0] / 20)
    slope_y, slope_x = np.gradient(height)
    return 1 - np.float32(alpha.shape[0] / 20) * (slope_x * light[0] + slope_y * light[1])


def _shadow(alpha: ndarray, light: ndarray) -> ndarray:
    """Soft shadow that an object throws away from the light: factors in (0, 1], shape (S, S)."""
    shift = light * alpha.shape[0] / 32
    moved = cv2.warpAffine(alpha, np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64), alpha.shape[::-1])
    return 1 - np.float32(0.45) * cv2.GaussianBlur(moved, (0, 0), alpha.shape[0] / 64)


def _expose(rng: RandomState, picture: ndarray) -> ndarray:
    """Take the photograph (S, S, 3) uint8 of a picture (3, S, S): uneven light, a little lens blur, sensor noise."""
    side = picture.shape[1]
    light = 1 + np.float32(rng.uniform(0.05, 0.25)) * value_noise(rng, side, 1)
    photo = np.ascontiguousarray((picture * light).transpose(1, 2, 0))
    photo = cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.35, 0.75) * side / 128)
    photo += np.float32(rng.uniform(0.008, 0.03)) * rng.standard_normal(photo.shape).astype(np.float32)
    return (np.clip(photo, 0, 1) * 255 + 0.5).astype(np.uint8)


def render(rng: RandomState, side: int = 128) -> Scene:
    """Draw a random scene of three objects of different families.

    Args:
        rng (RandomState): Source of randomness; the same state gives the same scene.
        side (int): Side S of the image in pixels, at least 32.

    Returns:
        Scene: Picture, classes and visible masks.
    """
    families = rng.permutation(len(FAMILIES))[:OBJECTS_PER_SCENE]
    class_ids = (MEMBERS * families + rng.randint(0, MEMBERS, OBJECTS_PER_SCENE)).tolist()
    places, alphas, masks = _layout(rng, class_ids, side)
    turn = rng.uniform(0, 2 * np.pi)
    light = np.array([np.cos(turn), np.sin(turn)], np.float32)
    picture = _ground(rng, side)
    for class_id, place, alpha in zip(class_ids, places, alphas):
        picture *= _shadow(alpha, light)
        rows, columns = window = _window(place, side)
        surface = _surface(rng, class_id, place, window, side) * _relief(alpha, light)[window]
        picture[:, rows, columns] = _blend(picture[:, rows, columns], surface, alpha[window])
    return Scene(_expose(rng, picture), class_ids, masks)

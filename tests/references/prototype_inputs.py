"""Seeded features and masks of the reference cases of prototype matching: FSSDINO, and the PANet-style head."""
from typing import Any

import numpy as np

from .seeded import seeded_array, seeded_image, seeded_mask

PATCH = 16
CHANNELS, STRIDES = (12, 16, 24), (8, 16, 32)

Case = dict[str, Any]


class FSSDINOInputs:
    """Draw features of one encoder layer and masks of every class, background first.

    A feature map is a sum: a constant, four smooth background fields, for each class a direction where the class is and
    a part direction of either sign in its two halves, and noise.

    Attributes:
        query (np.ndarray): Shape (C, g, g).
        supports (np.ndarray): Of all ways' K supports, (I, C, g, g).
        masks (np.ndarray): Support masks of every class, (I, ways + 1, S, S); padding belongs to no class.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        number, shown = case['ways'] * case['K'], case.get('shown', {})
        names = [f'support{i}' for i in range(number)]
        own = [shown.get(name, [1 + i // case['K']]) for i, name in enumerate(names)]
        self.masks = np.stack([self._masks(name, classes) for name, classes in zip(names, own)])
        self.supports = np.stack([self._features(name, masks) for name, masks in zip(names, self.masks)])
        self.query = self._features('query', self._masks('query', shown.get('query', range(1, case['ways'] + 1))))

    def _masks(self, name: str, shown: list[int]) -> np.ndarray:
        case, side = self.case, PATCH * self.case['grid']
        masks = np.zeros((case['ways'] + 1, side, side), np.uint8)
        for label in shown:
            boxes = case.get('boxes', {}).get(name, {}).get(str(label))
            if boxes is None:
                masks[label] = seeded_mask(f'mask.{name}.{label}', (side, side), case['seed'])
            for top, bottom, left, right in boxes or []:
                masks[label, top:bottom, left:right] = 1
        masks[0] = ~masks[1:].any(0)
        height, width = case.get('content', (side, side))
        masks[:, height:], masks[:, :, width:] = 0, 0
        return masks

    def _features(self, name: str, masks: np.ndarray) -> np.ndarray:
        case, grid, seed = self.case, self.case['grid'], self.case['seed']
        maps = 0.05 * seeded_array(f'noise.{name}', (case['C'], grid, grid), seed)
        maps = maps + case['const'] * self._direction('constant')
        fields = seeded_image(f'map.background.{name}', (4, grid, grid), seed)
        stuff = seeded_array('dir.background', (4, case['C']), seed).astype(np.float64)
        maps = maps + np.einsum('rc,ryx->cyx', stuff, fields) / 2
        for label in range(1, case['ways'] + 1):
            share = masks[label].reshape(grid, PATCH, grid, PATCH).mean((1, 3), dtype=np.float64)
            share = share if share.max() >= 0.5 else (share > 0).astype(np.float64)
            columns, sign = np.flatnonzero(share.any(0)), np.ones(grid)
            if len(columns):
                sign[(columns[0] + columns[-1] + 1) // 2:] = -1
            maps = maps + case['gain'] * share * self._direction(f'object{label}')
            maps = maps + case['part'] * share * sign * self._direction(f'part{label}')
        return maps.astype(np.float32)

    def _direction(self, name: str) -> np.ndarray:
        return seeded_array(f'dir.{name}', (self.case['C'], 1, 1), self.case['seed']).astype(np.float64)


def panet_inputs(case: Case) -> dict[str, Any]:
    """Draw three feature levels of query and supports, masks and the explained region.

    Returns:
        dict: ``query``, levels (B, C, h, w); ``support``, levels (B, K, C, h, w); ``support_masks`` (B, K, S, S);
        ``query_mask`` (B, S, S); ``region`` (B, E, E).
    """
    seed, side, batch, shots = (case[key] for key in ('seed', 'S', 'B', 'K'))
    query_mask = seeded_mask('query.mask', (batch, side, side), seed)
    masks = seeded_mask('support.masks', (batch, shots, side, side), seed)
    levels: dict[str, list[np.ndarray]] = dict(query=[], support=[])
    for level, (width, stride) in enumerate(zip(CHANNELS, STRIDES)):
        grid, cells = side // stride, slice(stride // 2, None, stride)
        direction = seeded_array(f'object.{level}', (batch, width, 1, 1), seed) * np.float32(case['gain'])
        for name, shape, of_class in (('query', (batch, width, grid, grid), query_mask[:, None]),
                                      ('support', (batch, shots, width, grid, grid), masks[:, :, None])):
            along = direction if name == 'query' else direction[:, None]
            levels[name].append(
                seeded_image(f'{name}.field.{level}', shape, seed) + along * of_class[..., cells, cells] +
                np.float32(0.05) * seeded_array(f'{name}.noise.{level}', shape, seed))
    for episode, shot, value in case.get('support_fill', []):
        masks[episode, shot] = value
    return dict(**levels, support_masks=masks, query_mask=query_mask,
                region=seeded_mask('region', (batch, case['E'], case['E']), seed))


def panet_adapters(seed: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw weight (C, C, 1, 1) and bias (C, ) of each level's adapter; None: identity and zero."""
    adapters = []
    for level, width in enumerate(CHANNELS):
        weight, bias = np.eye(width, dtype=np.float32)[..., None, None], np.zeros(width, np.float32)
        if seed is not None:
            weight = weight + np.float32(0.1) * seeded_array(f'projs.{level}.weight', weight.shape, seed)
            bias = np.float32(0.1) * seeded_array(f'projs.{level}.bias', (width, ), seed)
        adapters.append((weight, bias))
    return adapters

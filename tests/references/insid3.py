"""Inputs of the reference numbers in ``tests/data/insid3``, drawn by the rules that made them, and a model on them."""
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmfss import register_all_modules
from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS
from tests.references.seeded import seeded_array, seeded_image, seeded_mask

DATA = Path(__file__).parents[1] / 'data/insid3'
CASES: dict[str, dict[str, Any]] = json.loads((DATA / 'cases.json').read_text())
CELL = 16  # pixels


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f'{name}.npz') as archive:
        return dict(archive)


def probe(name: str, x: Tensor) -> Tensor:
    """Contract the first axis (C, ...) with a seeded vector over sqrt(C)."""
    vector = torch.from_numpy(seeded_array(f'probe.{name}', (len(x), ))).to(x)
    return torch.tensordot(vector, x, dims=1) / len(x)**0.5


class Drawing:
    """Feature maps and masks of a case: sums of directions (C, ) times maps (g, g)."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case, self.seed, self.grid = case, case['seed'], case['grid']
        self.masks = self._masks(CELL * self.grid)
        truth = self._seeded(seeded_mask, 'query_mask', CELL * self.grid, CELL * self.grid)
        position = self._mix('dir.position', self._seeded(seeded_image, 'map.position', case['rank'], *2 * [self.grid]))
        self.common = (case['const'] * self.direction('constant') + case['pos'] * position / np.sqrt(case['rank']))
        self.black = self._image('black', None)
        self.query = self._image('query', truth)
        self.supports = np.stack([self._image(f'support{i}', mask) for i, mask in enumerate(self.masks)])

    def direction(self, name: str) -> np.ndarray:
        """(C, 1, 1)"""
        return self._seeded(seeded_array, f'dir.{name}', self.case['C'])[:, None, None]

    def _seeded(self, draw: Any, name: str, *shape: int) -> np.ndarray:
        return draw(name, shape, self.seed).astype(np.float64)

    def _mix(self, name: str, maps: np.ndarray) -> np.ndarray:
        return np.einsum('rc,ryx->cyx', self._seeded(seeded_array, name, len(maps), self.case['C']), maps)

    def _masks(self, side: int) -> np.ndarray:
        masks = self._seeded(seeded_mask, 'support_masks', self.case['K'], side, side)
        for shot, boxes in self.case.get('boxes', {}).items():
            masks[int(shot)] = 0
            for top, bottom, left, right in boxes:
                masks[int(shot), top:bottom, left:right] = 1
        return masks

    def _image(self, name: str, mask: np.ndarray | None) -> np.ndarray:
        case, grid = self.case, self.grid
        out = self.common + 0.05 * self._seeded(seeded_array, f'noise.{name}', case['C'], grid, grid)
        if mask is None:
            return out.astype(np.float32)
        out = out + self._mix('dir.background', self._seeded(seeded_image, f'map.background.{name}', 4, grid, grid)) / 2
        share = mask.reshape(grid, CELL, grid, CELL).mean(axis=(1, 3))
        cover = share if share.max() >= 0.5 else (share > 0).astype(np.float64)
        if name == 'query':
            cover = cover * case.get('query_object', 1)
        columns, sign = np.flatnonzero(cover.any(axis=0)), np.ones(grid)
        if len(columns):
            sign[(columns[0] + columns[-1] + 1) // 2:] = -1
        out = out + cover * (case['gain'] * self.direction('object') + case['part'] * sign * self.direction('part'))
        for blob in (blob for blob in case.get('blobs', []) if blob['image'] == name):
            top, bottom, left, right = blob['box']
            for what, gain in blob['dirs'].items():
                out[:, top:bottom, left:right] += gain * self.direction(what)
        return out.astype(np.float32)


class GivenFeatures(nn.Module):
    """A backbone that returns given maps: the image whose largest pixel is i has map i, a black one the last map."""

    def __init__(self, maps: np.ndarray) -> None:
        super().__init__()
        self.register_buffer('maps', torch.from_numpy(maps))
        self.out = nn.Identity()
        self.num_images = 0

    def forward(self, images: Tensor) -> tuple[Tensor]:
        self.num_images += len(images)
        numbers = images[:, 0].amax((1, 2)).round().long()
        return (self.out(self.maps[numbers.masked_fill(numbers < 0, len(self.maps) - 1)]), )


MODELS.register_module(name='GivenFeatures', module=GivenFeatures, force=True)


class GoldenCase:
    """A case as an episode: query image 0, supports 1 to K."""

    def __init__(self, name: str, **features: Any) -> None:
        register_all_modules(init_default_scope=True)
        case = CASES[name]
        self.drawing, self.expected, self.shots, side = Drawing(case), golden(name), case['K'], CELL * case['grid']
        drawing = self.drawing
        maps = np.concatenate((drawing.query[None], drawing.supports, drawing.black[None]))
        self.model = FewShotSegmentor(
            backbone=dict(type='GivenFeatures', maps=maps),
            features=dict(
                type='DebiasedFeatures', num_components=case['s'],
                reader=dict(type='ModuleFeatures', levels=[['out']], in_channels=[[case['C']]]), **features),
            head=dict(type='INSID3Head', similarity=case.get('tau', 0.6), merge_threshold=case.get('alpha', 0.2)))
        self.model.eval()
        self.query = torch.zeros(1, 3, side, side)
        numbers = torch.arange(1., self.shots + 1).view(1, 1, -1, 1, 1, 1)
        self.support = numbers.expand(-1, -1, -1, 3, side, side).clone()
        self.masks = torch.from_numpy(drawing.masks).float()[None, None]

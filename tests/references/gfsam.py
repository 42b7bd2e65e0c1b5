"""Inputs of the reference numbers in ``tests/data/gfsam``, drawn by the rules that made them, and a toy SAM."""
import json
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmfss.registry import MODELS
from tests.references.seeded import seeded_array, seeded_image, seeded_mask

DATA = Path(__file__).parents[1] / 'data/gfsam'
CASES: dict[str, dict[str, Any]] = json.loads((DATA / 'cases.json').read_text())
GRID, SIDE, BLOCKS = 37, 1024, 128


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f'{name}.npz') as archive:
        return dict(archive)


def draw(case: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Feature maps of the query (1, C, g, g) and the supports (K, C, g, g), masks (K, 1024, 1024)."""
    seed, shots, width = case['seed'], case['K'], case['C']
    thing, other = (seeded_array(name, (width, 1, 1), seed) * np.float32(case['gain'])
                    for name in ('object', 'distractor'))
    backdrop = seeded_array('background', (width, 1, 1), seed) * np.float32(case['background'])

    lattice = np.zeros((GRID, GRID), np.float32)
    lattice[::case['every'], ::case['every']] = 1
    blobs = seeded_mask('query.blobs', (case['blobs'], GRID, GRID), seed)
    covered = (blobs * lattice).max(axis=0, initial=0)
    if case['spike']:
        covered[tuple(case['spike'])] = 1
    query = seeded_image('query.field', (width, GRID, GRID), seed) + thing * covered + backdrop * (1 - covered)
    if case['distractor']:
        query = query + other * seeded_mask('query.distractor', (GRID, GRID), seed)

    masks = seeded_mask('support.masks', (shots, SIDE, SIDE), seed)
    centres = ((np.arange(GRID) + 0.5) * SIDE / GRID).astype(int)
    covered = masks[:, centres][:, :, centres][:, None]
    support = seeded_image('support.field', (shots, width, GRID, GRID), seed)
    support = support + thing * covered + backdrop * (1 - covered)
    if case['support_distractor']:
        blobs = seeded_mask('support.distractor', (shots, GRID, GRID), seed)[:, None]
        support = support + other * blobs * (1 - covered)
    noise = np.float32(0.05)
    query = query + noise * seeded_array('query.noise', query.shape, seed)
    support = support + noise * seeded_array('support.noise', support.shape, seed)
    if case['empty']:
        masks = np.zeros_like(masks)
    return tuple(torch.from_numpy(x.astype(np.float32)) for x in (query[None], support, masks))


@MODELS.register_module()
class ToySAM(nn.Module):
    """The mask of a point: blocks of 8 x 8 pixels around it of like value in a seeded field, and the next blocks."""

    def __init__(self, case: dict[str, Any]) -> None:
        super().__init__()
        field = seeded_image('sam.field', (BLOCKS, BLOCKS), case['seed']).astype(np.float64)
        if case['blobs']:
            blobs = seeded_mask('query.blobs', (case['blobs'], BLOCKS, BLOCKS), case['seed'])
            field += case['step'] * blobs.sum(0)
        self.field, self.case, self.embedded = torch.from_numpy(field), case, 0

    def embed(self, images: Tensor) -> Tensor:
        self.embedded += len(images)
        return images[:, :1, :1, :1]

    def masks_of_points(self, embedding: Tensor, points: Tensor, size: Sequence[int]) -> Iterator[Tensor]:
        pixels = SIDE // BLOCKS
        rows, columns = torch.meshgrid(torch.arange(BLOCKS), torch.arange(BLOCKS), indexing='ij')
        for part in points.split(64):
            found = []
            for x, y in part // pixels:
                squares = (rows - y)**2 + (columns - x)**2
                alike = (self.field - self.field[y, x]).abs() <= self.case['band']
                found.append((squares <= 9) | (squares <= self.case['radius']**2) & alike)
            yield torch.stack(found).repeat_interleave(pixels, 1).repeat_interleave(pixels, 2)

"""Segment Anything with an image encoder of one small block, and a SAM that draws discs."""
from typing import Any, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from mmfss.registry import MODELS

TINY = dict(embed_dim=32, depth=1, num_heads=2, global_attn_indexes=())


def build_sam(**options: Any) -> nn.Module:
    """The real architecture with drawn weights."""
    pytest.importorskip('segment_anything', reason='segment-anything is not installed (extra "sam")')
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS.build(dict(type='SegmentAnything', arch=TINY, **options))


@MODELS.register_module()
class DiscSAM(nn.Module):
    """The mask of a point is a disc around it; a coarse mask becomes its box, grown by some pixels.

    Args:
        radius (int): Of the disc.
        grow (int): Pixels by which a refined mask exceeds the box of the coarse one.
    """

    def __init__(self, radius: int = 9, grow: int = 0) -> None:
        super().__init__()
        self.radius, self.grow, self.embedded = radius, grow, 0

    def embed(self, images: Tensor) -> Tensor:
        self.embedded += len(images)
        return images[:, :1, :1, :1]

    def masks_of_points(self, embedding: Tensor, points: Tensor, size: Sequence[int]) -> Iterator[Tensor]:
        rows, columns = torch.meshgrid(*(torch.arange(side) for side in size), indexing='ij')
        yield torch.stack([(rows - y)**2 + (columns - x)**2 <= self.radius**2 for x, y in points])

    def refine(self, embedding: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
        rows, columns = mask.nonzero().unbind(1)
        refined = torch.zeros_like(mask)
        refined[max(0, rows.min() - self.grow):rows.max() + 1 + self.grow,
                max(0, columns.min() - self.grow):columns.max() + 1 + self.grow] = True
        return refined

"""A head is one graph for torch.compile."""
import pytest
import torch
from torch import Tensor

from mmfss.models import FeaturePyramid
from mmfss.registry import MODELS

CHANNELS = ((8, ), (16, 16), (16, ), (32, ))


def pyramid(batch: int) -> FeaturePyramid:
    return FeaturePyramid(
        tuple(tuple(torch.randn(batch, c, side, side) for c in level) for level, side in zip(CHANNELS, (32, 16, 8, 4))))


@pytest.mark.parametrize('head', [dict(type='DCAMAHead', num_heads=4), dict(type='HSNetHead')])
def test_compiled_head_gives_the_same_logits(head: dict) -> None:
    torch.manual_seed(0)
    head = MODELS.build(dict(head, in_channels=CHANNELS)).eval()
    query, support, masks = pyramid(2), pyramid(4), (torch.rand(2, 2, 128, 128) > 0.5).float()

    def segment(query: FeaturePyramid, support: FeaturePyramid, masks: Tensor) -> Tensor:
        return head(query, head.encode_support(support, masks))

    # This backend traces the graph and needs no compiler.
    compiled = torch.compile(segment, backend='aot_eager', fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(compiled(query, support, masks), segment(query, support, masks), atol=1e-6)

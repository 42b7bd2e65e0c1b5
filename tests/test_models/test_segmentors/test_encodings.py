"""Encoded supports are containers of tensors that PyTorch looks into."""
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from mmfss.models import FeaturePyramid
from mmfss.registry import MODELS
from tests.references.seeded import seeded_image, seeded_mask
from tests.tiny.model import TINY_MODEL, build_tiny_model

HEADS = dict(
    DCAMAHead=TINY_MODEL['head'], HSNetHead=dict(type='HSNetHead'), DMTNetHead=dict(type='DMTNetHead'),
    FewShotScaleProtoHead=dict(type='FewShotScaleProtoHead', scale_channels=8, prototypes_per_scale=(2, 3),
                               num_groups=(2, 2), num_iterations=2, decoder_channels=8))


@pytest.mark.parametrize('head', HEADS)
def test_round_trip(head: str) -> None:
    build_tiny_model()  # registers
    options = dict(TINY_MODEL, head=HEADS[head])
    if head in ('HSNetHead', 'DMTNetHead'):
        options['features'] = dict(num_levels=3)
    model = MODELS.build(options).eval()
    query, support = (torch.from_numpy(seeded_image(name, shape)) for name, shape in (
        ('query', (1, 3, 128, 128)), ('support', (1, 2, 1, 3, 128, 128))))
    masks = torch.from_numpy(seeded_mask('masks', (1, 2, 1, 128, 128))).float()
    with torch.no_grad():
        encoding = model.encode_support(support, masks)
        leaves, structure = tree_flatten(encoding)
        assert sum(isinstance(leaf, Tensor) for leaf in leaves) >= 2
        again = tree_unflatten([leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure)
        assert type(again) is type(encoding)
        assert torch.equal(model.logits(query, again), model.logits(query, encoding))


def test_joined_pyramids() -> None:
    first, second = (FeaturePyramid(((torch.rand(n, 2, 4, 4), ), (torch.rand(n, 3, 2, 2), ))) for n in (1, 2))
    joined = FeaturePyramid.cat([first, second])
    assert joined.batch_size == 3 and FeaturePyramid.cat([first]) is first
    for part, whole in zip(joined.split([1, 2]), (first, second)):
        assert all(torch.equal(a[0], b[0]) for a, b in zip(part, whole))

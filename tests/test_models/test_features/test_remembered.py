"""Features that are computed once for each picture."""
import pytest
import torch
from torch import Tensor, nn

from mmfss.models.features import build_feature_reader
from mmfss.models.features.remembered import RememberedFeatures
from tests.tiny.model import build_tiny_model


class Counting:
    """Count the images that pass through a backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        self.images = 0
        backbone.register_forward_pre_hook(self)

    def __call__(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.images += len(args[0])


@pytest.fixture
def backbone() -> nn.Module:
    backbone = build_tiny_model().backbone
    backbone.eval()  # not chained: MMPretrain's returns None
    return backbone


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_each_picture_is_computed_once(backbone: nn.Module, images: Tensor) -> None:
    plain = build_feature_reader(None, backbone)(backbone, images)
    counting, reader = Counting(backbone), build_feature_reader(dict(type='RememberedFeatures'), backbone)
    assert reader.channels(backbone) == build_feature_reader(None, backbone).channels(backbone)
    for order in ([0, 1], [1, 0, 2], [2, 2, 3, 0], [3]):
        pyramid = reader(backbone, images[order])
        for level, expected in zip(pyramid, plain):
            for feature, whole in zip(level, expected):
                torch.testing.assert_close(feature, whole[order])
    assert counting.images == 4
    reader(backbone, images[:1].flip(-1))
    assert counting.images == 5


def test_changed_weights_gradients_and_train_mode(backbone: nn.Module, images: Tensor) -> None:
    counting, reader = Counting(backbone), build_feature_reader(dict(type='RememberedFeatures'), backbone)
    with torch.no_grad():
        before = reader(backbone, images[:1])[-1][-1]
        next(backbone.parameters()).mul_(1.5)
        assert not torch.equal(reader(backbone, images[:1])[-1][-1], before) and counting.images == 2
    reader(backbone, images[:1])
    reader(backbone, images[:1])
    assert counting.images == 4  # with gradients
    backbone.train()
    with torch.no_grad():
        reader(backbone, images[:2])
    assert counting.images == 6


@torch.no_grad()
def test_memory_is_limited(backbone: nn.Module, images: Tensor) -> None:
    one = sum(x.numel() * 4 for level in build_feature_reader(None, backbone)(backbone, images[:1]) for x in level)
    counting = Counting(backbone)
    reader = RememberedFeatures(max_gib=2.5 * one / 2**30)
    for index in (0, 1, 0, 2, 0, 1):  # 1 is dropped for 2, 2 for 1
        reader(backbone, images[index:index + 1])
    assert counting.images == 4
    with pytest.raises(ValueError, match='max_gib must be above 0'):
        RememberedFeatures(max_gib=0)


@torch.no_grad()
def test_models_with_the_same_weights_share_it(images: Tensor) -> None:
    reader = RememberedFeatures()
    counts = []
    for seed in (3, 3, 4):
        backbone = build_tiny_model(seed=seed).backbone
        backbone.eval()
        counts.append(Counting(backbone))
        reader(backbone, images)
    assert [count.images for count in counts] == [4, 0, 4]

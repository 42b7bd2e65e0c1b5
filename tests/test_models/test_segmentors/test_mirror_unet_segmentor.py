"""The U-Net baselines: levels, losses, with and without a classifier."""
import pytest
import torch

from mmfss.models import MirrorUNetSegmentor
from mmfss.utils.config_options import ConfigError
from tests.tiny.unrolled_lrp import RESNET, batch, gradients


def build(**changes: object) -> MirrorUNetSegmentor:
    torch.manual_seed(0)
    return MirrorUNetSegmentor(**{**dict(
        backbone=dict(RESNET, out_indices=(0, 1, 2, 3)),
        cls_head=dict(type='PooledClassifier', in_channels=32, num_classes=4),
        decode_head=dict(type='MirrorUNetHead', in_channels=(8, 4, 8, 16, 32), depths=(1, 2, 2, 2, 2), num_classes=4)),
        **changes})


@pytest.mark.parametrize('size', [(32, 40), (45, 63)])
def test_with_classifier(size: tuple[int, int]) -> None:
    model = build()
    found = gradients(model, *batch(size=size))
    assert found.keys() == dict(model.named_parameters()).keys()
    with torch.no_grad():
        logits, maps = model.classify_and_segment(torch.rand(2, 3, *size), classes=[3, 0])
    assert logits.shape == (2, 4) and maps.shape == (2, 2, *size)


def test_without_classifier() -> None:
    model = build(cls_head=None, cls_loss_weight=0)
    assert model.num_classes == 4 and set(model.loss(*batch())) == {'loss_seg'}
    samples = model.predict(*batch(2))
    assert 'cls_logits' not in samples[0] and samples[0].pred_sem_seg.shape == (32, 40)


def test_mirror() -> None:
    """As many convolutions per level as the encoder has blocks, and the finest level is the input of its pooling."""
    head = build().decode_head
    assert [len(level) for level in head.levels] == [1, 2, 2, 2]
    assert head.levels[0][0].conv.in_channels == 8 + 4


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match='cls_loss_weight must be 0 for a model without cls_head'):
        build(cls_head=None)
    with pytest.raises(ValueError, match='one entry per level'):
        build(decode_head=dict(type='MirrorUNetHead', in_channels=(8, 4), depths=(1, ), num_classes=4))

"""Models on a GPU, without one: tensors without content that say they are on it.

An operation on tensors of two devices is an error, and so is one that would need to know a value: on a real GPU the
program would wait there.
"""
import pytest
import torch
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmfss import register_all_modules
from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample
from tests.tiny.seg import TINY_HEAD, build_tiny_segmentor

HEADS = ('DCAMAHead', 'HSNetHead', 'DMTNetHead', 'FewShotScaleProtoHead')


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device='cuda')


def move(model: nn.Module) -> nn.Module:
    """To the GPU, within a FakeTensorMode."""
    for module in model.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            module._parameters[name] = nn.Parameter(draw(*value.shape, dtype=value.dtype), value.requires_grad)
        for name, value in list(module.named_buffers(recurse=False)):
            module._buffers[name] = draw(*value.shape, dtype=value.dtype)
    return model


def build(head: str, **options) -> FewShotSegmentor:
    register_all_modules(init_default_scope=True)
    backbone = dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8)
    return MODELS.build(dict(type='FewShotSegmentor', backbone=backbone, head=dict(type=head), **options))


def sample(ways: int, shots: int, side: int) -> EpisodeDataSample:
    data_sample = EpisodeDataSample()
    data_sample.gt_sem_seg = PixelData(data=draw(1, side, side, dtype=torch.int64))
    data_sample.support_sem_seg = draw(ways, shots, side, side, dtype=torch.uint8)
    return data_sample


@pytest.mark.parametrize('head', HEADS)
class TestEpisodes:

    def test_prediction(self, head: str) -> None:
        model = build(head, threshold=0.3).eval()
        with FakeTensorMode(), torch.autocast('cuda', torch.float16):
            inputs = dict(query=draw(2, 3, 128, 128), support=draw(2, 1, 2, 3, 128, 128))
            result, _ = move(model).predict(inputs, [sample(1, 2, 128) for _ in range(2)])
        assert result.pred_sem_seg.data.device.type == 'cuda' and result.pred_sem_seg.shape == (128, 128)

    def test_loss(self, head: str) -> None:
        model = build(head, frozen_backbone=False).train()
        with FakeTensorMode():
            inputs = dict(query=draw(2, 3, 128, 128), support=draw(2, 1, 1, 3, 128, 128))
            losses = move(model).loss(inputs, [sample(1, 1, 128) for _ in range(2)])
        assert all(loss.device.type == 'cuda' and loss.shape == () for loss in losses.values())


@pytest.mark.parametrize('head', ['ScaleProtoHead', 'ScaleProtoGroupHead'])
@torch.no_grad()
def test_logits_of_prototypes(head: str) -> None:
    model = build_tiny_segmentor(decode_head=dict(TINY_HEAD, type=head), msc_scales=(0.5, )).eval()
    with FakeTensorMode():
        logits = move(model).encode_decode(draw(2, 3, 64, 64), [dict(ori_shape=(70, 90))] * 2)
    assert logits.device.type == 'cuda' and logits.shape[2:] == (70, 90)

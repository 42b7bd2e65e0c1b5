"""Models on a GPU: published numbers, agreement with the CPU, half precision, and steps that never wait.

With ``MMFSS_TEST_DEVICE=cpu`` the same is rehearsed without a GPU.
"""
import os
from contextlib import contextmanager
from typing import Iterator

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData

from mmfss import register_all_modules
from mmfss.converters.published_weights import convert_dcama
from mmfss.datasets import stack_episodes
from mmfss.engine.hooks.deferred_runtime_info_hook import DeferredHistory
from mmfss.engine.optim import BFloat16OptimWrapper
from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample
from tests.references.dcama import assert_logits, episodes, load, official_state_dict

DEVICE = os.environ.get('MMFSS_TEST_DEVICE', 'cuda')
HEADS = ('DCAMAHead', 'HSNetHead', 'DMTNetHead')

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == 'cuda' and not torch.cuda.is_available(), reason='needs a CUDA GPU'),
]


@pytest.fixture(autouse=True)
def no_tf32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def build(head: str, depth: int = 18, **backbone: int) -> FewShotSegmentor:
    register_all_modules(init_default_scope=True)
    torch.manual_seed(0)
    return MODELS.build(dict(
        type='FewShotSegmentor', backbone=dict(type='mmpretrain.ResNet', depth=depth, **backbone),
        head=dict(type=head))).eval()


def batch(side: int = 128, size: int = 2, shots: int = 1) -> dict:
    """A stacked batch, in pinned memory where there is a GPU."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int, high: int = 256) -> torch.Tensor:
        return torch.randint(high, shape, dtype=torch.uint8, generator=generator)

    items = []
    for _ in range(size):
        sample = EpisodeDataSample()
        sample.gt_sem_seg = PixelData(data=draw(1, side, side, high=2).long())
        sample.support_sem_seg = draw(1, shots, side, side, high=2)
        items.append(dict(inputs=dict(query=draw(3, side, side), support=draw(1, shots, 3, side, side)),
                          data_samples=sample))
    stacked = stack_episodes(items)
    if DEVICE == 'cuda':
        stacked['inputs'] = {name: images.pin_memory() for name, images in stacked['inputs'].items()}
        stacked['data_samples'] = stacked['data_samples'].pin_memory()
    return stacked


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """Let every operation fail for which the CPU would wait."""
    if DEVICE != 'cuda':
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


@torch.no_grad()
def test_published_logits_of_dcama() -> None:
    """Tolerance 2e-4 relative to the CPU's 1e-4: the order of additions differs."""
    register_all_modules(init_default_scope=True)
    model = MODELS.build(dict(type='FewShotSegmentor', backbone=dict(type='mmpretrain.ResNet', depth=50),
                              head=dict(type='DCAMAHead')))
    model.load_state_dict(convert_dcama(official_state_dict('resnet50'))[0], strict=False)
    model.eval().to(DEVICE)
    query, support, masks = (tensor.to(DEVICE) for tensor in episodes(2, 1, side=128))
    assert_logits(model.logits(query, support, masks).cpu(), load('resnet50_128_1shot_b2.npz'))


@pytest.mark.parametrize('head', HEADS)
@torch.no_grad()
def test_logits_are_those_of_the_cpu(head: str) -> None:
    model, data = build(head, stem_channels=16, base_channels=16), batch(shots=2)
    expected = [sample.seg_logits.data for sample in model.test_step(data)]
    found = [sample.seg_logits.data.cpu() for sample in model.to(DEVICE).test_step(data)]
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, atol=1e-4 * float(other.abs().max()), rtol=1e-4)


@pytest.mark.parametrize('head', HEADS)
@torch.no_grad()
def test_bfloat16_is_close(head: str) -> None:
    model, data = build(head, stem_channels=16, base_channels=16).to(DEVICE), batch(shots=2)
    exact = [sample.seg_logits.data for sample in model.test_step(data)]
    with torch.autocast(DEVICE, torch.bfloat16):
        rounded = [sample.seg_logits.data.float() for sample in model.test_step(data)]
    for one, other in zip(rounded, exact):
        assert (one - other).abs().mean() < 0.05 * other.abs().max()


@pytest.mark.parametrize('wrapper', [OptimWrapper, BFloat16OptimWrapper])
@pytest.mark.parametrize('head', HEADS)
def test_a_training_step_never_waits(head: str, wrapper: type) -> None:
    model, data = build(head, stem_channels=16, base_channels=16).to(DEVICE).train(), batch()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = wrapper(torch.optim.SGD(weights, lr=1e-3, momentum=0.9))
    history = DeferredHistory()
    for _ in range(2):  # what is made once
        model.train_step(data, optimizer)
    with waiting_is_an_error():
        history.defer(model.train_step(data, optimizer)['loss'])
    assert torch.tensor(history.data[0]).isfinite().all()

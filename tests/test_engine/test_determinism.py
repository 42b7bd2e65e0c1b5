"""Deterministic training: what is set up, which operations a training step uses, and, on a GPU, that runs repeat."""
import os
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmfss import register_all_modules
from mmfss.engine.self_finetuning import SelfFinetuner
from mmfss.evaluation import IoUMetric
from mmfss.models.layers import resize_unaligned
from mmfss.models.layers.pyramid_scales import cell_shares
from mmfss.models.layers.resizing import resize_by_matrices
from mmfss.models.losses import ClassRegions, pixel_cross_entropy
from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample
from mmfss.utils.determinism import prepare_determinism
from tests.test_engine.toy import run, toy_config
from tests.tiny.data import PIPELINE, write_class_folders
from tests.tiny.seg import TINY_HEAD, TinySegDataset, build_tiny_segmentor

HEADS = ('DCAMAHead', 'HSNetHead', 'DMTNetHead', 'FewShotScaleProtoHead')
# Operations that PyTorch refuses on a GPU while deterministic algorithms are on, or whose kernels add with atomics
# without saying so. Of scatter_reduce and nll_loss2d only some kinds, see is_refused.
REFUSED = {
    'adaptive_max_pool2d_backward', '_adaptive_avg_pool2d_backward', '_adaptive_avg_pool3d_backward',
    'avg_pool3d_backward', 'fractional_max_pool2d_backward', 'fractional_max_pool3d_backward', 'max_unpool2d',
    'max_unpool3d', 'upsample_linear1d_backward', 'upsample_bilinear2d_backward', 'upsample_bicubic2d_backward',
    'upsample_trilinear3d_backward', '_upsample_bilinear2d_aa_backward', '_upsample_bicubic2d_aa_backward',
    'reflection_pad1d_backward', 'reflection_pad2d_backward', 'reflection_pad3d_backward', '_ctc_loss_backward',
    '_embedding_bag_backward', 'put_', 'put', 'histc', 'median', 'nanmedian', 'grid_sampler_2d_backward',
    'grid_sampler_3d_backward', 'scatter_reduce', 'scatter_reduce_', '_cdist_backward', '_pdist_backward'
}


@pytest.fixture(autouse=True)
def restored_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.deterministic = before[1]


@pytest.fixture
def without_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of the device "meta", for which PyTorch has no autocast to switch off."""
    autocast = torch.autocast
    monkeypatch.setattr(torch, 'autocast', lambda device_type, *args, **kwargs: (
        nullcontext() if device_type == 'meta' else autocast(device_type, *args, **kwargs)))


class Trace(TorchDispatchMode):
    """Count the operations that a GPU would be asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Dict[str, Any] | None = None) -> Any:
        name = func.overloadpacket.__name__
        # nll_loss2d adds with atomics if it is to return a sum or a mean (reduction 1 or 2).
        if name in REFUSED or name == 'nll_loss2d_forward' and args[3] != 0:
            self.names[name] += 1
        return func(*args, **(kwargs or {}))


def few_shot_model(head: str) -> torch.nn.Module:
    register_all_modules(init_default_scope=True)
    backbone = dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8)
    # The default waits for the number of pixels that it averages over, which tensors without content do not have.
    loss = dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=False)
    return MODELS.build(dict(type='FewShotSegmentor', backbone=backbone, frozen_backbone=False,
                             head=dict(type=head, loss_decode=loss)))


def few_shot_step(model: torch.nn.Module, device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    side, shots = 128, 2
    samples = []
    for _ in range(2):
        masks = (torch.rand(1 + shots, side // 16, side // 16, generator=generator) < 0.5)
        masks = masks.repeat_interleave(16, 1).repeat_interleave(16, 2)
        sample = EpisodeDataSample()
        sample.gt_sem_seg = PixelData(data=masks[:1].long().to(device))
        sample.support_sem_seg = masks[None, 1:].to(torch.uint8).to(device)
        samples.append(sample)
    inputs = dict(query=torch.rand(2, 3, side, side, generator=generator).to(device),
                  support=torch.rand(2, 1, shots, 3, side, side, generator=generator).to(device))
    model = model.to(device).train()
    sum(value for name, value in model.loss(inputs, samples).items() if 'loss' in name).backward()


def semantic_step(head: str, device: str = 'cpu') -> None:
    regularizers = dict(
        ScaleProtoHead=[dict(type='JeffreysDiversityLoss'), dict(type='OffClassL1Loss'),
                        dict(type='ActivationNormLoss', order='linf'), dict(type='SampleEntropyLoss')],
        ScaleProtoGroupHead=[dict(type='OffClassL1Loss'), dict(type='GroupEntropyLoss'),
                             dict(type='GroupDiversityLoss'), dict(type='SpatialEntropyLoss')])[head]
    model = build_tiny_segmentor(decode_head=dict(TINY_HEAD, type=head, regularizers=regularizers)).to(device).train()
    batch = [TinySegDataset()[index] for index in range(2)]
    data = model.data_preprocessor(dict(inputs=[item['inputs'] for item in batch],
                                        data_samples=[item['data_samples'] for item in batch]), training=True)
    parsed = model.loss(**data)
    sum(value.sum() for name, value in parsed.items() if 'loss' in name).backward()


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the deterministic paths on the CPU too, where whatever has content can be compared."""
    for module in ('models.layers.resizing', 'models.losses.regions', 'models.losses.cross_entropy',
                   'evaluation.iou_metric'):
        monkeypatch.setattr(f'mmfss.{module}.avoids_atomics', lambda x: True)


class TestOperations:
    """A step with deterministic algorithms uses no operation that a GPU refuses, or does in any order."""

    @pytest.mark.parametrize('head', HEADS)
    def test_few_shot(self, head: str, without_content: None) -> None:
        """On tensors without content, for which PyTorch and mmfss take the same way as on a GPU."""
        torch.use_deterministic_algorithms(True)
        model = few_shot_model(head)
        with Trace() as trace:
            few_shot_step(model, 'meta')
        assert not trace.names

    @pytest.mark.parametrize('head', HEADS)
    def test_the_trace_sees_what_it_is_to_see(self, head: str, without_content: None) -> None:
        model = few_shot_model(head)
        with Trace() as trace:
            few_shot_step(model, 'meta')
        assert 'upsample_bilinear2d_backward' in trace.names

    @pytest.mark.parametrize('head', ['ScaleProtoHead', 'ScaleProtoGroupHead'])
    def test_prototypes(self, head: str, as_on_a_gpu: None) -> None:
        """On the CPU, as labels must have content there; PyTorch's own resizing is left to the tests above."""
        torch.use_deterministic_algorithms(True)
        with Trace() as trace:
            semantic_step(head)
        assert set(trace.names) <= {'upsample_bilinear2d_backward'}

    def test_self_finetuning(self, without_content: None) -> None:
        """One step of test-time finetuning, without content."""
        torch.use_deterministic_algorithms(True)
        model = few_shot_model('DMTNetHead').to('meta').eval()
        tuner = SelfFinetuner.__new__(SelfFinetuner)
        tuner.model = model
        tuner.optimizer = torch.optim.Adam(model.head.parameters())
        supports = model.extract_feat(torch.rand(2, 3, 128, 128, device='meta'))
        with Trace() as trace:
            tuner.step(supports, torch.zeros(2, 128, 128, device='meta'))
        assert not trace.names


class TestSameOnTheCPU:
    """The deterministic paths give what the usual ones give, up to rounding; the CPU takes the usual ones."""

    @pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.float16, 2e-3)])
    @pytest.mark.parametrize('before, after', [
        ((12, 9), (5, 5)), ((4, 6), (32, 48)), ((7, 20), (9, 8)), ((1, 1), (3, 2))])
    def test_resizing(self, before: tuple, after: tuple, dtype: torch.dtype, tolerance: float) -> None:
        maps = torch.randn(2, 3, *before, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for operator in (F.adaptive_avg_pool2d, _antialiased):
            results = []
            for resize in (operator, lambda x, size, op=operator: resize_by_matrices(x, size, op)):
                x = maps.to(dtype if resize is not operator else torch.promote_types(dtype, torch.float32))
                x.requires_grad_()
                y = resize(x, after)
                y.double().square().sum().backward()
                results.append((y.detach().double(), x.grad.double()))
            for usual, other in zip(*results):
                scale = max(1., float(usual.abs().max()))
                torch.testing.assert_close(other, usual, rtol=0, atol=tolerance * scale)

    @pytest.mark.parametrize('call', [
        lambda x: resize_unaligned(x, (5, 5), antialias=True), lambda x: cell_shares(x.sigmoid(), (5, 4)),
        lambda x: pixel_cross_entropy(x, torch.arange(2 * 9 * 8).view(2, 9, 8) % 3)
    ], ids=['resize', 'shares', 'entropy'])
    def test_ways_agree(self, call: Callable, request: pytest.FixtureRequest) -> None:
        x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(1))
        usual = call(x)
        torch.use_deterministic_algorithms(True)
        assert torch.equal(call(x), usual)
        request.getfixturevalue('as_on_a_gpu')
        torch.testing.assert_close(call(x), usual, rtol=1e-5, atol=1e-6)

    def test_maximum_of_regions(self, request: pytest.FixtureRequest) -> None:
        labels = torch.randint(0, 4, (3, 6, 5), generator=torch.Generator().manual_seed(0))
        labels[labels == 2] = 255
        regions = ClassRegions.of(labels, 4)
        values = torch.randn(len(regions.label), 3, generator=torch.Generator().manual_seed(1))
        values[:7] = 1.5  # Equal values share the derivative.
        usual, other = values.clone().requires_grad_(), values.clone().requires_grad_()
        expected = regions.amax(usual)
        request.getfixturevalue('as_on_a_gpu')
        result = regions.amax(other)
        assert torch.equal(result, expected)
        result.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(other.grad, usual.grad)

    @pytest.mark.parametrize('head', HEADS)
    def test_few_shot_step(self, head: str) -> None:
        torch.use_deterministic_algorithms(True)
        few_shot_step(few_shot_model(head), 'cpu')

    @pytest.mark.parametrize('head', ['ScaleProtoHead', 'ScaleProtoGroupHead'])
    def test_semantic_step(self, head: str) -> None:
        torch.use_deterministic_algorithms(True)
        semantic_step(head)

    def test_iou_counts_on_the_cpu(self, as_on_a_gpu: None) -> None:
        predicted, label = torch.randint(0, 3, (2, 9, 9), generator=torch.Generator().manual_seed(0))
        result = IoUMetric.intersect_and_union(predicted, label, 3, 255)
        assert result[2].tolist() == predicted.flatten().bincount(minlength=3).tolist()

    def test_iou_of_configs_is_this_one(self) -> None:
        from mmfss.registry import METRICS
        assert METRICS.get('IoUMetric') is IoUMetric


def _antialiased(x: Tensor, size: Any) -> Tensor:
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=False, antialias=True)


class TestConfig:

    @pytest.mark.parametrize('randomness, expected', [
        (dict(seed=0, deterministic=True), ':4096:8'), (dict(seed=0), None), (None, None),
        (dict(deterministic=False), None)])
    def test_workspace_of_cublas(self, randomness: Any, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', 'x')  # So that it is restored after the test.
        monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG')
        prepare_determinism(dict(randomness=randomness))
        assert os.environ.get('CUBLAS_WORKSPACE_CONFIG') == expected

    def test_what_is_set_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':16:8')
        prepare_determinism(dict(randomness=dict(deterministic=True)))
        assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':16:8'

    def test_trains_and_resumes(self, tmp_path: Path) -> None:
        """With the same bits as without: on a CPU every operation is deterministic anyway."""
        usual = run(toy_config(tmp_path / 'usual', 'usual')).model.state_dict()
        changes = dict(randomness__deterministic=True)
        run(toy_config(tmp_path / 'whole', 'deterministic', max_iters=10, **changes))
        assert torch.are_deterministic_algorithms_enabled()
        resumed = run(toy_config(tmp_path / 'whole', 'deterministic-2', resume=True, **changes)).model.state_dict()
        assert all(torch.equal(value, resumed[name]) for name, value in usual.items())


def few_shot_run(work_dir: Path, name: str, resume: bool = False) -> Dict[str, Tensor]:
    """Train DCAMA with its backbone on episodes of small pictures, and return its weights."""
    if not (work_dir.parent / 'data').is_dir():
        write_class_folders(work_dir.parent / 'data')
    cfg = toy_config(work_dir, name, max_iters=8, default_hooks__checkpoint__interval=4,
                     default_hooks__checkpoint__max_keep_ckpts=-1, default_hooks__checkpoint__save_best=None,
                     randomness__deterministic=True, resume=resume, param_scheduler=[])
    cfg.model = dict(
        type='FewShotSegmentor', frozen_backbone=False, head=dict(type='DCAMAHead'),
        data_preprocessor=dict(type='EpisodeDataPreProcessor'),
        backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8))
    cfg.train_dataloader.dataset = dict(
        type='ImageFolderDataset', data_root=str(work_dir.parent / 'data'), num_shots=1, split='train', fold=0,
        sampler=dict(type='UniformEpisodeSampler', order='list', seed=0), pipeline=PIPELINE)
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    return run(cfg).model.state_dict()


def assert_runs_repeat_and_resume(folder: Path) -> None:
    """Two whole runs of 8 iterations, and one of 4 and 4."""
    first, second = (few_shot_run(folder / name, name) for name in ('first', 'second'))
    (folder / 'second/iter_8.pth').unlink()
    (folder / 'second/last_checkpoint').write_text(str(folder / 'second/iter_4.pth'))
    resumed = few_shot_run(folder / 'second', 'resumed', resume=True)
    assert all(torch.equal(value, second[name]) and torch.equal(value, resumed[name]) for name, value in first.items())


def test_few_shot_runs_repeat_and_resume(tmp_path: Path) -> None:
    assert_runs_repeat_and_resume(tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
class TestOnAGPU:
    """Steps and runs repeat to the last bit, also a run that was resumed."""

    @pytest.mark.parametrize('head', HEADS)
    def test_steps_repeat(self, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        gradients = []
        for _ in range(2):
            torch.manual_seed(0)
            model = few_shot_model(head)
            few_shot_step(model, 'cuda')
            gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
        assert all(torch.equal(first, second) for first, second in zip(*gradients))

    @pytest.mark.parametrize('head', ['ScaleProtoHead', 'ScaleProtoGroupHead'])
    def test_prototypes_train(self, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        torch.use_deterministic_algorithms(True)
        semantic_step(head, 'cuda')

    def test_runs_repeat_and_resume(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        assert_runs_repeat_and_resume(tmp_path)

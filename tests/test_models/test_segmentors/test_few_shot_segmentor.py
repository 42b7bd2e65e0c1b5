import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from torch import Tensor, nn

from mmfss.models import FewShotSegmentor
from mmfss.models.heads.dcama_head import CrossAttention
from mmfss.models.layers import compose_ways
from mmfss.models.segmentors.few_shot_segmentor import PIXELS_AT_A_TIME
from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample
from mmfss.utils.checkpoint import CheckpointError


def build(backbone: dict | None = None, **kwargs) -> FewShotSegmentor:
    torch.manual_seed(0)
    backbone = backbone or dict(type='mmpretrain.ResNet', depth=18, base_channels=16, stem_channels=16)
    model = MODELS.build(dict(type='FewShotSegmentor', backbone=backbone, head=dict(type='DCAMAHead'), **kwargs))
    return model


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    model = build()
    model.eval()
    return model


@pytest.fixture
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def draw(batch: int = 2, ways: int = 1, shots: int = 1, size: tuple = (64, 64)) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(batch, 3, *size, generator=generator)
    support = torch.randn(batch, ways, shots, 3, *size, generator=generator)
    masks = (torch.rand(batch, ways, shots, *size, generator=generator) > 0.5).float()
    return query, support, masks


def samples(batch: int, ways: int = 1, shots: int = 1, size: tuple = (64, 64)) -> list[EpisodeDataSample]:
    data_samples = []
    for index in range(batch):
        generator = torch.Generator().manual_seed(index)
        sample = EpisodeDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, ways + 1, (1, *size), generator=generator))
        sample.support_sem_seg = torch.randint(0, 2, (ways, shots, *size), generator=generator, dtype=torch.uint8)
        data_samples.append(sample)
    return data_samples


def batch_of(batch: int, ways: int = 1, shots: int = 1, size: tuple = (64, 64)) -> dict:
    """What the data loader gives."""
    generator = torch.Generator().manual_seed(7)
    image = lambda *shape: torch.randint(0, 256, (*shape, 3, *size), generator=generator, dtype=torch.uint8)  # noqa: E731
    inputs = dict(query=[image() for _ in range(batch)], support=[image(ways, shots) for _ in range(batch)])
    return dict(inputs=inputs, data_samples=samples(batch, ways, shots, size))


def assert_close(mine: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


@pytest.mark.usefixtures('no_grad')
class TestLogits:

    @pytest.mark.parametrize(('ways', 'shots'), [(1, 1), (1, 3), (2, 1), (3, 2)])
    def test_batch_of_two_equals_two_of_one(self, model: FewShotSegmentor, ways: int, shots: int) -> None:
        query, support, masks = draw(2, ways, shots)
        both = model.logits(query, support, masks)
        assert both.shape == (2, ways + 1, 64, 64)
        for i in range(2):
            assert_close(both[i:i + 1], model.logits(query[i:i + 1], support[i:i + 1], masks[i:i + 1]))

    @pytest.mark.parametrize('size', [(64, 96), (65, 97), (257, 257), (50, 70)])
    def test_any_size(self, model: FewShotSegmentor, size: tuple) -> None:
        query, support, masks = draw(1, 1, 2, size)
        logits = model.logits(query, support, masks)
        assert logits.shape == (1, 2, *size) and logits.isfinite().all()

    def test_images_are_read_in_slices(self, model: FewShotSegmentor, monkeypatch: pytest.MonkeyPatch) -> None:
        images = draw(5)[0]
        whole = model.extract_feat(images)
        read = []
        with monkeypatch.context() as changed:
            changed.setitem(PIXELS_AT_A_TIME, 'cpu', -(-2 * 64 * 64 // torch.get_num_threads()))
            hook = model.backbone.register_forward_pre_hook(lambda module, args: read.append(len(args[0])))
            sliced = model.extract_feat(images)
            hook.remove()
        assert read == [2, 2, 1]
        for mine, other in zip(sliced, whole):
            assert len(mine) == len(other)
            for pair in zip(mine, other):
                assert_close(*pair)

    @pytest.mark.parametrize('head', ['HSNetHead', 'DMTNetHead'])
    def test_shots_are_compared_one_at_a_time(self, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where each has its own logits: the memory of a prediction does not grow with the shots."""
        torch.manual_seed(0)
        backbone = dict(type='mmpretrain.ResNet', depth=18, base_channels=16, stem_channels=16)
        model = FewShotSegmentor(backbone, dict(type=head, shots='mean')).eval()
        query, support, masks = draw(2, ways=2, shots=3, size=(128, 128))
        together = model.logits(query, model.encode_support(support, masks))
        monkeypatch.setitem(PIXELS_AT_A_TIME, 'cpu', -(-2 * 128 * 128 // torch.get_num_threads()))
        encoded, encode = [], model.head.encode_support
        monkeypatch.setattr(model.head, 'encode_support', lambda features, masks: (
            encoded.append(tuple(masks.shape[:2])), encode(features, masks))[1])
        assert_close(model.logits(query, support, masks), together)
        assert encoded == [(2, 1)] * 6

    def test_support_of_another_size(self, model: FewShotSegmentor) -> None:
        query, _, _ = draw(2, size=(64, 96))
        _, support, masks = draw(2, shots=2, size=(48, 32))
        logits = model.logits(query, support, masks)
        assert_close(logits, model.logits(query, model.encode_support(support, masks)))
        assert logits.shape == (2, 2, 64, 96)

    def test_ways_are_composed_by_the_rule(self, model: FewShotSegmentor) -> None:
        query, support, masks = draw(2, ways=3, shots=2)
        single = [model.logits(query, support[:, n:n + 1], masks[:, n:n + 1]) for n in range(3)]
        assert_close(model.logits(query, support, masks), compose_ways(single))

    def test_encoding_takes_the_place_of_supports(self, model: FewShotSegmentor) -> None:
        query, support, masks = draw(2, ways=2, shots=2)
        assert_close(model.logits(query, model.encode_support(support, masks)), model.logits(query, support, masks))

    def test_one_encoding_serves_every_query(self, model: FewShotSegmentor) -> None:
        query, support, masks = draw(3, ways=2, shots=2)
        encoding = model.encode_support(support[:1], masks[:1])
        assert encoding.batch_size == 1
        repeat = lambda x: x[:1].expand_as(x)  # noqa: E731
        assert_close(model.logits(query, encoding), model.logits(query, repeat(support), repeat(masks)))
        assert_close(model.logits(query[:1], encoding), model.logits(query[:1], support[:1], masks[:1]))

    def test_ways_may_have_different_numbers_of_shots(self, model: FewShotSegmentor) -> None:
        query, support, masks = draw(2, ways=2, shots=3)
        ways = [support[:, 0, :1], support[:, 1]]
        way_masks = [masks[:, 0, :1], masks[:, 1]]
        expected = compose_ways([
            model.logits(query, support[:, :1, :1], masks[:, :1, :1]),
            model.logits(query, support[:, 1:], masks[:, 1:])
        ])
        assert_close(model.logits(query, ways, way_masks), expected)
        assert_close(model.logits(query, model.encode_support(ways, way_masks)), expected)

    def test_boolean_masks(self, model: FewShotSegmentor) -> None:
        query, support, masks = draw()
        assert_close(model.logits(query, support, masks.bool()), model.logits(query, support, masks))

    def test_bfloat16_is_close(self, model: FewShotSegmentor) -> None:
        query, support, masks = draw(2, shots=2)
        exact = model.logits(query, support, masks)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            rough = model.logits(query, support, masks)
        assert (rough.float() - exact).abs().mean() < 0.05 * exact.std()

    @pytest.mark.parametrize(('change', 'message'), [
        (lambda q, s, m: (q, s[:, 0], m[:, 0]), r'must have shape \(B, N, K, 3, H, W\), got \(2, 1, 3, 64, 64\)'),
        (lambda q, s, m: (q, s, m[:, :, :, 1:]), r'a mask of the size of each.*\(2, 1, 63, 64\)'),
        (lambda q, s, m: (q, s[:, :, :0], m[:, :, :0]), 'at least one support image'),
        (lambda q, s, m: (q, s[:, :0], m[:, :0]), 'at least one support image'),
        (lambda q, s, m: (q, s[:1], m[:1]), '1 support sets were given for 2 queries.*encode_support'),
        (lambda q, s, m: (q, s), '`masks` may be left out only with encoded supports'),
    ])
    def test_bad_input(self, model: FewShotSegmentor, change, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            model.logits(*change(*draw()))

    def test_encoding_of_another_number_of_episodes(self, model: FewShotSegmentor) -> None:
        query, support, masks = draw(3)
        with pytest.raises(ValueError, match='2 support sets cannot serve 3 queries'):
            model.logits(query, model.encode_support(support[:2], masks[:2]))


class TestThreshold:

    @pytest.mark.parametrize('head', ['DCAMAHead', 'HSNetHead'])
    @torch.no_grad()
    def test_foreground_is_what_is_probable_enough(self, head: str) -> None:
        torch.manual_seed(0)
        backbone = dict(type='mmpretrain.ResNet', depth=18, base_channels=16, stem_channels=16)
        config = dict(type='FewShotSegmentor', backbone=backbone, head=dict(type=head))
        plain, episode = MODELS.build(config), draw()
        probable = plain.eval().logits(*episode).softmax(1)[:, 1]
        threshold = float(probable.quantile(0.25))
        low = MODELS.build(dict(config, threshold=threshold))
        low.load_state_dict(plain.state_dict())
        logits = low.eval().logits(*episode)
        clear = (probable - threshold).abs() > 1e-5
        assert torch.equal((logits[:, 1] > logits[:, 0])[clear], (probable > threshold)[clear])
        assert 0.7 < (logits[:, 1] > logits[:, 0]).float().mean() < 0.8

    @pytest.mark.parametrize('training', [True, False])
    def test_not_in_the_loss(self, training: bool) -> None:
        query, support, _ = draw(2)
        losses = []
        for threshold in (0.5, 0.1):
            model = build(threshold=threshold).train(training)
            torch.manual_seed(0)
            losses.append(model.loss(dict(query=query, support=support), samples(2))['loss_ce'])
        assert torch.equal(*losses)

    @torch.no_grad()
    def test_in_predictions_whatever_the_mode(self) -> None:
        model = build(threshold=0.1).eval()
        for module in model.modules():
            if isinstance(module, CrossAttention):
                module.dropout.p = module.attention_dropout = 0
        expected = model.logits(*draw())
        assert_close(model.train().logits(*draw()), expected)

    @pytest.mark.parametrize('threshold', [0., 1., -0.5])
    def test_range(self, threshold: float) -> None:
        with pytest.raises(ValueError, match='model.threshold is a probability between 0 and 1'):
            build(threshold=threshold)


class TestModes:
    """The modes that a Runner uses."""

    def test_loss(self) -> None:
        model = build()
        losses = model(**model.data_preprocessor(batch_of(2, ways=2, shots=2)), mode='loss')
        assert list(losses) == ['loss_ce'] and losses['loss_ce'].item() > 0
        losses['loss_ce'].backward()

    def test_predict(self, model: FewShotSegmentor) -> None:
        results = model.test_step(batch_of(2, ways=2, shots=1))
        for result in results:
            assert result.seg_logits.data.shape == (3, 64, 64)
            assert result.pred_sem_seg.data.dtype == torch.int64
            assert torch.equal(result.pred_sem_seg.data, result.seg_logits.data.argmax(0, keepdim=True))

    def test_tensor_is_logits(self, model: FewShotSegmentor) -> None:
        data = model.data_preprocessor(batch_of(2))
        masks = torch.stack([sample.support_sem_seg for sample in data['data_samples']]).float()
        with torch.no_grad():
            expected = model.logits(data['inputs']['query'], data['inputs']['support'], masks)
            assert_close(model(**data, mode='tensor'), expected)

    def test_ignored_support_pixels_are_background(self, model: FewShotSegmentor) -> None:
        data, other = batch_of(1), batch_of(1)
        data['data_samples'][0].support_sem_seg[..., :20, :] = 255
        other['data_samples'][0].support_sem_seg[..., :20, :] = 0
        first, second = model.test_step(data)[0], model.test_step(other)[0]
        assert torch.equal(first.seg_logits.data, second.seg_logits.data)


class TestFrozenBackbone:

    def test_training_leaves_it_as_it_was(self) -> None:
        model = build()
        before = copy.deepcopy(model.backbone.state_dict())
        head_before = copy.deepcopy(model.head.state_dict())
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1))
        model.train()
        for _ in range(2):
            model.train_step(batch_of(2), wrapper)
        assert model.training and model.head.training
        assert not any(module.training for module in model.backbone.modules())
        assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.backbone.parameters())
        assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())
        assert all(not torch.equal(value, head_before[name]) for name, value in model.head.state_dict().items())

    def test_not_frozen_trains(self) -> None:
        model = build(frozen_backbone=False)
        model.train()
        statistics = model.backbone.norm1.running_mean.clone()
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        before = model.backbone.layer1[0].conv1.weight.detach().clone()
        model.train_step(batch_of(2), wrapper)
        assert not torch.equal(before, model.backbone.layer1[0].conv1.weight)
        assert not torch.equal(statistics, model.backbone.norm1.running_mean)


class TestDeclaredWeights:
    RESNET18 = dict(type='mmpretrain.ResNet', depth=18, base_channels=16, stem_channels=16)

    def build(self, checkpoint: Path, prefix: str | None = 'backbone.', **kwargs) -> FewShotSegmentor:
        init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint), prefix=prefix)
        return build({**self.RESNET18, **kwargs, 'init_cfg': init_cfg})

    def save(self, path: Path, module: nn.Module, prefix: str = 'backbone.') -> Path:
        torch.save(dict(state_dict={prefix + name: value for name, value in module.state_dict().items()}), path)
        return path

    def test_are_loaded(self, tmp_path: Path) -> None:
        torch.manual_seed(5)
        network = MODELS.build(self.RESNET18)
        model = self.build(self.save(tmp_path / 'resnet.pth', network))
        model.init_weights()
        expected = network.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in model.backbone.state_dict().items())

    def test_missing_file(self, tmp_path: Path) -> None:
        model = self.build(tmp_path / 'nowhere.pth')
        message = r'nowhere.pth" \(config key `model.backbone.init_cfg.checkpoint`\)'
        with pytest.raises(FileNotFoundError, match=message):
            model.init_weights()

    def test_not_a_checkpoint(self, tmp_path: Path) -> None:
        path = tmp_path / 'page.pth'
        path.write_text('<html>not found</html>')
        with pytest.raises(CheckpointError, match='page.pth'):
            self.build(path).init_weights()

    @pytest.mark.parametrize(('prefix', 'kwargs', 'message'), [
        ('', {}, 'No name in ".*other.pth" begins with "backbone.". It is not a ResNet with torchvision'),
        ('backbone.', dict(depth=34), 'other.pth.*are not those of this ResNet.*entries fit')])
    def test_other_weights(self, tmp_path: Path, prefix: str, kwargs: dict, message: str) -> None:
        path = self.save(tmp_path / 'other.pth', MODELS.build(self.RESNET18), prefix)
        model = self.build(path, **kwargs)
        with pytest.raises(CheckpointError, match=message):
            model.init_weights()

"""DiffewS: properties of its passes, its bank, its options and its messages."""
import copy
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from mmfss.models import BaseFewShotSegmentor, DiffewsSegmentor
from mmfss.models.segmentors.diffews_segmentor import random_subset
from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample
from mmfss.utils.diffusers_files import WEIGHTS
from tests.tiny.diffews import UNET, VAE, build_diffews
from tests.tiny.episode import draw_episode

pytest.importorskip('diffusers', reason='DiffewS needs diffusers')

from mmfss.models.backbones import kv_fusion  # noqa: E402


@pytest.fixture(scope='module')
def model() -> DiffewsSegmentor:
    return build_diffews()


def inputs(shots: int = 1, batch: int = 1, ways: int = 1, name: str = 'a') -> tuple[Tensor, Tensor, Tensor]:
    episodes = [draw_episode(ways, shots, (32, 32), name=f'{name}{i}') for i in range(batch)]
    return tuple(torch.stack([getattr(x, key) for x in episodes]) for key in ('query', 'support', 'masks'))


class CountedPasses:
    """Counts the images that go through each input convolution."""

    def __init__(self, model: DiffewsSegmentor) -> None:
        self.supports, self.queries = [], []
        self.hooks = [model.unet.conv_in_ref.register_forward_hook(lambda m, x, y: self.supports.append(len(y))),
                      model.unet.conv_out.register_forward_hook(lambda m, x, y: self.queries.append(len(y)))]

    def __enter__(self) -> 'CountedPasses':
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()


@pytest.mark.parametrize('shots', [1, 3])
@torch.no_grad()
def test_one_support_pass_serves_all_queries(model: DiffewsSegmentor, shots: int) -> None:
    query, support, masks = inputs(shots, 4)
    with CountedPasses(model) as passes:
        encoding = model.encode_support(support[:1], masks[:1])
        together = model.logits(query, encoding)
        one_by_one = torch.cat([model.logits(x[None], encoding) for x in query])
    # A whole pass ends in conv_out: the support pass, stopped after its last attention, does not.
    assert passes.supports == [shots] and passes.queries == [4, 1, 1, 1, 1]
    assert torch.allclose(together, one_by_one, atol=2e-5)
    assert torch.allclose(one_by_one[:1], model.logits(query[:1], support[:1], masks[:1]), atol=1e-5)
    again, = model.encode_support(support[:1], masks[:1]).ways
    assert all(torch.equal(*pair) for pair in zip(again.keys + again.values, encoding.ways[0].keys +
                                                  encoding.ways[0].values))


@torch.no_grad()
def test_order_of_shots(model: DiffewsSegmentor) -> None:
    query, support, masks = inputs(3)
    expected = model.logits(query, support, masks)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(model.logits(query, support[:, :, order], masks[:, :, order]), expected, atol=1e-5)
    # Another support, or the same twice, matters
    twice = torch.tensor([0, 0])
    one, two = (model.logits(query, support[:, :, rows], masks[:, :, rows]) for rows in (twice[:1], twice))
    assert float((one - two).abs().max()) > 1e-3 and float((one - expected).abs().max()) > 1e-3


@torch.no_grad()
def test_batch_and_ways(model: DiffewsSegmentor) -> None:
    query, support, masks = inputs(2, 2, 2)
    whole = model.logits(query, support, masks)
    assert whole.shape == (2, 3, 32, 32)
    for index in range(2):
        single = [model.logits(query[[index]], support[[index], [way]][:, None], masks[[index], [way]][:, None])
                  for way in range(2)]
        assert torch.allclose(whole[index, 1], single[0][0, 1], atol=1e-5)
        assert torch.allclose(whole[index, 2], single[1][0, 1], atol=1e-5)


@torch.no_grad()
def test_a_support_whose_mask_is_its_image_is_read_as_an_image() -> None:
    torch.manual_seed(0)
    model = MODELS.build(dict(type='DiffewsSegmentor', vae=VAE, unet=UNET, text_tokens=(2, 2))).eval()
    latents = torch.randn(1, 4, 16, 16)
    bank, records = model.write(latents, latents, torch.ones(1, 1, 32, 32)), []
    model.read(latents, bank, records=records)
    assert torch.allclose(bank.keys[0], records[0].key, atol=1e-5)


class TestBank:

    @torch.no_grad()
    def test_size(self, model: DiffewsSegmentor) -> None:
        _, support, masks = inputs(3)
        bank, = model.encode_support(support, masks).ways
        assert bank.sizes == ((16, 16), (8, 8), (16, 16), (16, 16)) and bank.num_shots == 3
        assert bank.num_bytes == 4 * 2 * 3 * (3 * 256 * 32 + 64 * 64)

    @torch.no_grad()
    def test_kept_elsewhere_and_in_half_precision(self, model: DiffewsSegmentor) -> None:
        query, support, masks = inputs(2)
        expected = model.logits(query, support, masks)
        encoding = model.encode_support(support, masks, dtype=torch.bfloat16, device='cpu')
        bank, = encoding.ways
        assert {x.dtype for x in bank.keys + bank.values} == {torch.bfloat16} and bank.masks.dtype == torch.float32
        result = model.logits(query, encoding)
        assert result.dtype == torch.float32 and 0 < float((result - expected).abs().max()) < 0.2
        half = build_diffews(bank_dtype='bfloat16')
        assert torch.equal(half.logits(query, half.encode_support(support, masks)), result)

    @torch.no_grad()
    def test_is_a_value(self, model: DiffewsSegmentor) -> None:
        query, support, masks = inputs(2)
        encoding = model.encode_support(support, masks)
        expected = model.logits(query, encoding)
        for other in (copy.deepcopy(encoding), pickle.loads(pickle.dumps(encoding)),
                      tree_map_only(Tensor, torch.clone, encoding)):
            assert torch.equal(model.logits(query, other), expected)

    @torch.no_grad()
    def test_mask_value_of_a_token_is_the_nearest_pixel(self, model: DiffewsSegmentor) -> None:
        _, support, masks = inputs(2)
        bank, = model.encode_support(support, masks).ways
        for layer, (h, w) in enumerate(bank.sizes):
            values = bank.mask_values(layer).view(2, h, w)
            rows = [int((i + 0.5) * 32 / h) for i in range(h)]
            assert torch.equal(values, masks[0, 0][:, rows][:, :, rows])

    @torch.no_grad()
    def test_drawn_tokens(self) -> None:
        query, support, masks = inputs(3, 2)
        model = build_diffews(kv_sample='train_length')
        encoding = model.encode_support(support, masks)
        bank, = encoding.ways
        assert [x.shape[1] for x in bank.keys] == [256, 64, 256, 256]
        whole, = build_diffews().encode_support(support, masks).ways
        for layer, rows in enumerate(bank.drawn):
            assert len(set(rows.tolist())) == len(rows) and {int(x) // 64 for x in bank.drawn[1]} == {0, 1, 2}
            assert torch.equal(whole.keys[layer][:, rows], bank.keys[layer])
            assert torch.equal(whole.values[layer][:, rows], bank.values[layer])
        # The draw of an episode depends on no other, and one support is not drawn from.
        logits = model.logits(query, encoding)
        assert torch.allclose(model.logits(query[1:], support[1:], masks[1:]), logits[1:], atol=1e-5)
        one = support[:, :, :1], masks[:, :, :1]
        assert torch.equal(model.logits(query, *one), build_diffews().logits(query, *one))
        other = build_diffews(kv_sample='train_length', kv_seed=1)
        assert not torch.allclose(other.logits(query, support, masks), logits, atol=1e-4)


class TestNothingIsLeft:

    @torch.no_grad()
    def test_after_an_error(self, model: DiffewsSegmentor) -> None:
        query, support, masks = inputs(2)
        expected = model.logits(query, support, masks)
        alone = model.read(model.extract_feat(query)[0][0], None)
        for block in (model.unet.mid_block, model.unet.up_blocks[0]):
            hook = block.register_forward_hook(lambda *args: 1 / 0)
            for fail in (lambda: model.encode_support(support, masks), lambda: model.logits(query, support, masks)):
                with pytest.raises(ZeroDivisionError):
                    fail()
            hook.remove()
            assert kv_fusion._active.get() is None
        assert torch.equal(model.read(model.extract_feat(query)[0][0], None), alone)
        assert torch.equal(model.logits(query, support, masks), expected)

    def test_in_the_state_dict(self, model: DiffewsSegmentor) -> None:
        names = {name.split('.')[0] for name in model.state_dict()}
        assert names == {'vae', 'unet', 'text_embed'}
        assert len(model.unet.state_dict()) == 210 and len(model.vae.state_dict()) == 124

    @pytest.fixture
    def many_switches(self) -> Iterator[None]:
        interval, threads = sys.getswitchinterval(), torch.get_num_threads()
        sys.setswitchinterval(1e-6)
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)
        sys.setswitchinterval(interval)

    def test_by_other_threads(self, model: DiffewsSegmentor, many_switches: None) -> None:
        episodes = [inputs(1 + i % 2, name=f't{i}') for i in range(8)]

        def predict(episode: tuple) -> Tensor:
            with torch.no_grad():
                return model.logits(*episode)

        expected = [predict(episode) for episode in episodes]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(predict, episodes * 2))
        assert all(torch.equal(*pair) for pair in zip(results, expected * 2, strict=True))

    @torch.no_grad()
    def test_in_copies(self, model: DiffewsSegmentor) -> None:
        episode = inputs()
        expected = model.logits(*episode)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(other.logits(*episode), expected)
            other.unet.conv_in_ref.weight.zero_()
            assert not torch.equal(other.logits(*episode), expected)
        assert torch.equal(model.logits(*episode), expected)


def batch(shots: int, size: int = 2, seed: int = 0) -> tuple[dict[str, Tensor], list[EpisodeDataSample]]:
    from mmengine.structures import PixelData
    query, support, masks = inputs(shots, size, name=f'train{seed}')
    samples = [EpisodeDataSample() for _ in range(size)]
    for index, sample in enumerate(samples):
        sample.support_sem_seg = masks[index].to(torch.uint8)
        target = draw_episode(1, shots, (32, 32), name=f'train{seed}{index}').target
        sample.gt_sem_seg = PixelData(data=target[None])
    return dict(query=query, support=support), samples


class TestTraining:

    def test_loss_uses_the_whole_batch(self) -> None:
        data, samples = batch(2, 2)
        model = build_diffews().train()
        # Without the noise of the samples of the posterior
        model.vae.quant_conv.weight.data[4:] = 0
        model.vae.quant_conv.bias.data[4:] = -30
        whole = model.loss(data, samples)['loss_latent']
        single = [model.loss({key: x[[i]] for key, x in data.items()}, [samples[i]])['loss_latent'] for i in range(2)]
        assert whole.item() == pytest.approx(sum(single).item() / 2, abs=1e-5) and (single[0] - single[1]).item() != 0
        whole.backward()
        assert all(x.grad is not None and x.grad.isfinite().all() for x in model.unet.parameters())
        assert all(x.grad is None and not x.requires_grad for x in model.vae.parameters())

    def test_a_sample_in_training_and_the_mean_at_test(self) -> None:
        model, images = build_diffews(), inputs()[0]
        expected = model.latents(images)
        assert torch.equal(model.latents(images), expected)
        model.train()
        assert not model.vae.training and model.unet.training
        samples = torch.stack([model.latents(images) for _ in range(64)])
        assert 0 < float(samples.std(0).mean()) and float((samples.mean(0) - expected).abs().mean()) < float(
            samples.std(0).mean())

    def test_text_tokens(self) -> None:
        model = build_diffews(text_tokens=(1, 2))
        data, samples = batch(1, 1)
        seen = []
        hook = model.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.register_forward_hook(
            lambda module, args, out: seen.append(args[0].shape[1]))
        with torch.no_grad():
            model.train().loss(data, samples)
            model.eval().logits(data['query'], data['support'], torch.ones(1, 1, 1, 32, 32))
        hook.remove()
        assert seen == [1, 1, 2, 2]

    def test_random_subset(self) -> None:
        torch.manual_seed(0)
        support = torch.arange(2 * 3 * 5).view(2, 3, 5, 1, 1, 1).expand(-1, -1, -1, 3, 2, 2).float()
        counts = []
        for _ in range(60):
            images, masks = random_subset(support, support[..., 0, :, :])
            counts.append(images.shape[2])
            assert torch.equal(images[..., 0, :, :], masks)
            for episode in range(2):
                for way in range(3):
                    numbers = set(masks[episode, way, :, 0, 0].tolist())
                    assert len(numbers) == counts[-1]
                    assert numbers <= set(support[episode, way, :, 0, 0, 0].tolist())
        assert set(counts) == {1, 2, 3, 4, 5}

    def test_random_shots(self) -> None:
        model, (data, samples) = build_diffews(random_shots=True).train(), batch(3, 1)
        torch.manual_seed(0)
        with CountedPasses(model) as passes, torch.no_grad():
            for _ in range(8):
                model.loss(data, samples)
            model.eval().logits(data['query'], data['support'], torch.ones(1, 1, 3, 32, 32))
        assert set(passes.supports[:-1]) == {1, 2, 3} and passes.supports[-1] == 3

    @pytest.mark.parametrize('options', [dict(), dict(checkpointing=True)], ids=['plain', 'checkpointing'])
    def test_bfloat16_and_a_frozen_vae_in_half_precision(self, options: dict) -> None:
        data, samples = batch(2, 1)
        losses = []
        for dtype in (None, 'bfloat16'):
            torch.manual_seed(3)
            model = build_diffews(vae_dtype=dtype, **options).train()
            with torch.autocast('cpu', torch.bfloat16, enabled=dtype is not None):
                loss = model.loss(data, samples)['loss_latent']
            assert loss.dtype == torch.float32
            loss.backward()
            assert all(x.grad.isfinite().all() and x.grad.dtype == torch.float32 for x in model.unet.parameters())
            assert {x.dtype for x in model.vae.parameters()} == {torch.float32}
            losses.append(float(loss.detach()))
        assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.1)


class TestBadInput:

    @staticmethod
    def build(**options: object) -> BaseFewShotSegmentor:
        return MODELS.build(dict(dict(type='DiffewsSegmentor', vae=VAE, unet=UNET, text_tokens=(2, 2)), **options))

    def test_diffusers_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, 'diffusers', None)
        with pytest.raises(ImportError, match=r'pip install "mmfss\[diffews\]"'):
            self.build()

    @pytest.mark.parametrize(('options', 'message'), [
        (dict(vae=dict(VAE, latent_channels=8)), 'latents of 8 channels, but the UNet reads 4'),
        (dict(unet=dict(UNET, in_channels_ref=4)), 'in_channels_ref must be 8'),
        (dict(unet=dict(UNET, down_block_types=('DownBlock2D', ) * 2, up_block_types=('UpBlock2D', ) * 2,
                        mid_block_type='UNetMidBlock2D')), 'no self-attention'),
        (dict(text_tokens=(78, 2)), 'between 1 and 77'),
        (dict(kv_sample='half'), 'kv_sample must be one of none, train_length'),
        (dict(bank_dtype='int8'), 'bank_dtype must be one of'),
        (dict(decision=dict(mode='mean')), 'modes "relative" and "absolute"'),
        (dict(decision=dict(value=25)), 'between 0 and 1'),
        (dict(vae='no/such/folder'), '"no/such/folder" is not one of a diffusers model'),
    ])
    def test_options(self, options: dict, message: str) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            self.build(**options)

    def test_text_embedding_of_another_width(self, tmp_path) -> None:
        torch.save(dict(text_embed=torch.zeros(1, 2, 16)), tmp_path / 'text.pth')
        with pytest.raises(ValueError, match=r'shape \(1, 2, 16\); the UNet reads 2 tokens of width 32'):
            self.build(text_embed=str(tmp_path / 'text.pth'))
        with pytest.raises(FileNotFoundError, match='text_embed'):
            self.build(text_embed=str(tmp_path / 'none.pth'))

    def test_sizes_and_shots(self, model: DiffewsSegmentor) -> None:
        with pytest.raises(ValueError, match=r'30 x 32 pixels .* multiples of 4, the factors of VAE \(2\) and UNet'):
            model.extract_feat(torch.zeros(1, 3, 30, 32))
        with pytest.raises(ValueError, match='at least one support'):
            model.encode_support(torch.zeros(1, 1, 0, 3, 32, 32), torch.zeros(1, 1, 0, 32, 32))

    def test_folders(self, model: DiffewsSegmentor, tmp_path) -> None:
        for name in ('vae', 'unet'):
            getattr(model, name).save_pretrained(tmp_path / name)
        other = self.build(vae=str(tmp_path / 'vae'), unet=str(tmp_path / 'unet'))
        for name, value in model.state_dict().items():
            assert name == 'text_embed' or torch.equal(other.state_dict()[name], value)
        weights = {k: v for k, v in model.unet.state_dict().items() if not k.startswith('conv_in_ref')}
        (tmp_path / 'unet' / WEIGHTS[0]).unlink()
        torch.save(weights, tmp_path / 'unet' / WEIGHTS[1])
        with pytest.raises(ValueError, match='has no conv_in_ref.*diffews2mmfss.py adds it'):
            self.build(unet=str(tmp_path / 'unet'))
        torch.save(dict(weights, more=torch.zeros(1)), tmp_path / 'unet' / WEIGHTS[1])
        with pytest.raises(ValueError, match='2 missing, first conv_in_ref.weight; 1 not in the model, first more'):
            self.build(unet=str(tmp_path / 'unet'))
        (tmp_path / 'vae' / WEIGHTS[0]).write_bytes(b'broken')
        with pytest.raises(ValueError, match='not a safetensors file'):
            self.build(vae=str(tmp_path / 'vae'))

"""DiffewS equals the numbers of the official implementation."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.models import DiffewsSegmentor
from mmfss.models.layers.soft_masks import MaskDecision
from tests.references.seeded import seeded_image, seeded_mask
from tests.tiny.diffews import ATTENTION_GAINS, UNET, build_diffews, golden, seed_module, tensor

diffusers = pytest.importorskip('diffusers', reason='DiffewS needs diffusers')
attention_processor = pytest.importorskip('diffusers.models.attention_processor')

from mmfss.models.backbones.diffusion import fused_attentions  # noqa: E402
from mmfss.models.backbones.kv_fusion import KVFusionProcessor, ReadPass, WritePass, running  # noqa: E402


def image(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.from_numpy(seeded_image(name, shape, seed))


def close(result: Tensor, expected: np.ndarray, atol: float) -> None:
    assert result.shape == expected.shape
    assert float((result.detach() - torch.from_numpy(expected)).abs().max()) <= atol


@pytest.fixture(scope='module')
def attention() -> torch.nn.Module:
    module = torch.nn.Module()
    module.attn1 = attention_processor.Attention(query_dim=24, heads=3, dim_head=8, bias=False)
    seed_module(module, 'attn', 0, ATTENTION_GAINS)
    module.attn1.set_processor(KVFusionProcessor(0))
    return module.attn1


@pytest.fixture(scope='module')
def model() -> DiffewsSegmentor:
    return build_diffews()


@pytest.fixture(scope='module')
def model3() -> DiffewsSegmentor:
    return build_diffews(seed=3)


class TestAttention:
    NUMBERS = golden('attn')

    @pytest.mark.parametrize(('case', 'names', 'counts'), [
        ('1shot', ('support_1', 'query_1'), (1, 1)), ('2shot', ('support_2', 'query_2'), (2, 1)),
        ('3shot', ('support_3', 'query_3'), (3, 1)), ('batch2x2', ('support_b', 'query_b'), (4, 2))])
    @torch.no_grad()
    def test_two_passes(self, attention: torch.nn.Module, case: str, names: tuple, counts: tuple) -> None:
        write = WritePass(torch.nn.Identity(), 1, stop=False)
        with running(write):
            close(attention(tensor(names[0], (counts[0], 20, 24))), self.NUMBERS[f'support_out_{case}'], 2e-6)
        bank = write.bank((4, 5), torch.ones(counts[1], counts[0] // counts[1], 4, 5))
        with running(ReadPass(bank)):
            close(attention(tensor(names[1], (counts[1], 20, 24))), self.NUMBERS[f'query_out_{case}'], 2e-6)

    def test_off(self, attention: torch.nn.Module) -> None:
        close(attention(tensor('query_b', (2, 20, 24))), self.NUMBERS['query_out_nosupport'], 2e-6)


class TestUNet:
    NUMBERS = golden('unet')

    @staticmethod
    def latents(support: int, query: int) -> tuple[Tensor, ...]:
        return tuple(image(name, (count, 4, 16, 16))
                     for name, count in (('z_s', support), ('z_ms', support), ('z_q', query), ('z_mq', query)))

    def test_fused_layers(self, model: DiffewsSegmentor) -> None:
        assert list(fused_attentions(model.unet)) == [
            f'{block}.transformer_blocks.0.attn1' for block in (
                'down_blocks.0.attentions.0', 'mid_block.attentions.0', 'up_blocks.1.attentions.0',
                'up_blocks.1.attentions.1')]

    @pytest.mark.parametrize(('case', 'shots', 'batch'), [('1shot', 1, 1), ('2shot', 2, 1), ('batch2x2', 2, 2)])
    @torch.no_grad()
    def test_passes(self, model: DiffewsSegmentor, case: str, shots: int, batch: int) -> None:
        support, support_masks, query, _ = self.latents(batch * shots, batch)
        masks = torch.ones(batch, shots, 32, 32)
        middle = []
        hook = model.unet.mid_block.register_forward_hook(lambda module, inputs, output: middle.append(output))
        out = model.read(query, model.write(support, support_masks, masks))
        hook.remove()
        close(-out, self.NUMBERS[f'pred_{case}'], 2e-5)
        if batch == 1:
            close(middle[-1], self.NUMBERS[f'mid_{case}'], 2e-5)
            # The support pass to its end
            write = WritePass(model.unet.conv_in_ref, model.num_layers, stop=False)
            with running(write):
                close(model._run(torch.cat((support, support_masks), 1)), self.NUMBERS[f'ref_out_{case}'], 2e-5)

    @torch.no_grad()
    def test_no_support(self, model: DiffewsSegmentor) -> None:
        query = self.latents(4, 2)[2]
        close(-model.read(query, None), self.NUMBERS['pred_nosupport'], 2e-5)
        plain = diffusers.UNet2DConditionModel(**UNET)
        plain.load_state_dict({k: v for k, v in model.unet.state_dict().items() if not k.startswith('conv_in_ref')})
        text = model.text_embed.expand(2, -1, -1)
        assert torch.allclose(-model.read(query, None), plain.eval()(query, 1, text).sample, atol=2e-6)

    @pytest.mark.parametrize('checkpointing', [False, True])
    def test_loss_and_gradients(self, checkpointing: bool) -> None:
        model = build_diffews(checkpointing=checkpointing).train()
        support, support_masks, query, wanted = self.latents(2, 1)
        bank = model.write(support, support_masks, torch.ones(1, 2, 32, 32))
        loss = F.mse_loss(model.read(query, bank), wanted)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(self.NUMBERS['train_loss']), abs=1e-5)
        gradients = {name: parameter.grad for name, parameter in model.unet.named_parameters()}
        names = [key.removeprefix('grad__') for key in self.NUMBERS if key.startswith('grad__')]
        assert len(names) > 5 and 'conv_in_ref.weight' in names
        for name in names:
            expected, gradient = self.NUMBERS[f'grad__{name}'], gradients[name]
            close(gradient[:len(expected)], expected, 1e-4 * np.abs(expected).max())
            assert float(gradient.norm()) == pytest.approx(float(self.NUMBERS[f'gradnorm__{name}']), rel=1e-4)


class TestPipeline:
    NUMBERS = golden('pipeline')

    @torch.no_grad()
    def test_latents(self, model3: DiffewsSegmentor) -> None:
        latent = model3.extract_feat(torch.tanh(image('query_img', (1, 3, 32, 32), 3)))[0][0]
        close(latent, self.NUMBERS['latent_query'], 1e-5)
        close(model3.drawn(latent).clamp(-1, 1), self.NUMBERS['decoded_latent_query'], 2e-5)
        masks = torch.from_numpy(seeded_mask('support_mask', (2, 32, 32), 3))
        close(model3.mask_latents(masks), self.NUMBERS['latent_support_mask'], 1e-5)

    @pytest.mark.parametrize('shots', [1, 2])
    @torch.no_grad()
    def test_whole(self, model3: DiffewsSegmentor, shots: int) -> None:
        support = torch.tanh(image('support_img', (shots, 3, 32, 32), 3))[None, None]
        masks = torch.from_numpy(seeded_mask('support_mask', (shots, 32, 32), 3))[None, None]
        query = torch.tanh(image('query_img', (1, 3, 32, 32), 3))
        bank, = model3.encode_support(support, masks).ways
        drawn = model3.drawn(model3.read(model3.extract_feat(query)[0][0], bank))
        picture = (drawn.clamp(-1, 1) * 0.5 + 0.5) * 255
        close(picture, self.NUMBERS[f'seg_float_{shots}shot'], 5e-3)
        different = picture[0].permute(1, 2, 0).floor().numpy() != self.NUMBERS[f'seg_uint8_{shots}shot']
        assert different.sum() <= 5
        # The decision of the model is that on this picture
        channels = picture / 255
        margin = channels.mean(1) - 0.25 * channels.mean(1).amax()
        decided = model3.logits(query, support, masks).argmax(1) == 1
        assert torch.equal(decided[margin.abs() > 1e-5], (margin > 0)[margin.abs() > 1e-5])


class TestDecision:
    NUMBERS = golden('postprocess')
    RAW = torch.from_numpy(NUMBERS['raw']).float()

    def test_truncation(self) -> None:
        expected = self.NUMBERS['uint8'].transpose(0, 3, 1, 2)
        assert np.array_equal(self.RAW.clamp(0, 255).floor().numpy().astype(np.uint8), expected)

    def test_masks(self) -> None:
        keys = [key for key in self.NUMBERS if key.startswith('mask_')]
        assert len(keys) >= 4
        for key in keys:
            mode, value = key.removeprefix('mask_')[0], float(key.removeprefix('mask_')[1:])
            decision = MaskDecision('relative' if mode == 'r' else 'absolute', value, maximum='channels', truncate=True)
            logits = decision.logits(self.RAW)
            expected = np.unpackbits(self.NUMBERS[key])[:len(self.RAW) * 40 * 48].reshape(-1, 40, 48).astype(bool)
            # All but pixels within rounding of the threshold; of a black picture none is.
            sure = (((logits[:, 1] - logits[:, 0]).abs() / 8 > 1e-6) | (logits[:, 1] == 0)).numpy()
            assert np.array_equal((logits.argmax(1) == 1).numpy()[sure], expected[sure]) and (~sure).sum() <= 11

    def test_metrics(self) -> None:
        logits = MaskDecision(maximum='channels', truncate=True).logits(self.RAW)
        predicted = logits.argmax(1).numpy() == 1
        truth = seeded_mask('gt', predicted.shape) > 0
        assert not predicted[4].any()
        counts = [[((predicted == c) & (truth == c)).sum((1, 2)), ((predicted == c) | (truth == c)).sum((1, 2))]
                  for c in (False, True)]
        inter, union = (np.stack([counts[c][i] for c in (0, 1)], 1) for i in (0, 1))
        assert np.abs(inter - self.NUMBERS['inter_r']).max() <= 11
        assert np.abs(union - self.NUMBERS['union_r']).max() <= 11
        classes = self.NUMBERS['class_id']
        foreground = [100 * inter[classes == c, 1].sum() / union[classes == c, 1].sum() for c in np.unique(classes)]
        assert np.mean(foreground) == pytest.approx(float(self.NUMBERS['miou_r0.25']), abs=0.05)
        assert 100 * (inter.sum(0) / union.sum(0)).mean() == pytest.approx(float(self.NUMBERS['fbiou_r0.25']), abs=0.05)

"""AffEx on DiffewS: its fused attention, written out literally, and every explainer."""
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.evaluation.attribution import build_attribution_metric
from mmfss.evaluation.attribution.perturbed_episode import PerturbedEpisode
from mmfss.explainers.contributions import EPS
from mmfss.models import DiffewsSegmentor
from mmfss.models.affinities import FusedAttentionAffinity
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from tests.test_explainers.all_explainers import HEADS, NAMES, build_explainer
from tests.tiny.diffews import build_diffews
from tests.tiny.episode import draw_episode
from tests.tiny.largest_tensor import LargestTensor

pytest.importorskip('diffusers', reason='DiffewS needs diffusers')


@pytest.fixture(scope='module')
def model() -> DiffewsSegmentor:
    return build_diffews()


@pytest.fixture(scope='module')
def episode() -> Episode:
    return draw_episode(1, 2, (32, 32), name='affex')


def literal(affinity: FusedAttentionAffinity) -> tuple[Tensor, Tensor]:
    """Attention to all keys, own and support, head by head, then the mean."""
    heads = affinity.num_heads
    query, own, support = (x.unflatten(-1, (heads, -1)).transpose(1, 2)
                           for x in (affinity.query, affinity.own_key, affinity.key))
    attention = (query @ torch.cat((own, support), 2).transpose(-1, -2) / query.shape[-1]**0.5).softmax(-1).mean(1)
    return attention.split([own.shape[2], support.shape[2]], dim=-1)


class TestAffinity:

    @pytest.fixture(scope='class')
    @classmethod
    def affinity(cls) -> FusedAttentionAffinity:
        torch.manual_seed(0)
        query, own, support = torch.randn(2, 12, 8), torch.randn(2, 12, 8), torch.randn(1, 2 * 6, 8)
        return FusedAttentionAffinity(3 * query, own, support, 2, (3, 4), (2, 3, 2))

    def test_equals_the_literal_attention(self, affinity: FusedAttentionAffinity) -> None:
        own, support = literal(affinity)
        values, weights = torch.rand(2, 12, 3), torch.rand(2, 12, 2)
        assert torch.allclose(affinity.weights(0, 12), support, atol=1e-6)
        assert torch.allclose(affinity.attend(values), support @ values, atol=1e-6)
        for chunk in (5, 256):
            votes = affinity.vote(weights, chunk_size=chunk)
            assert torch.allclose(votes, support.transpose(1, 2) @ weights, atol=1e-6)
        assert torch.allclose(affinity.own_share(), own.sum(-1), atol=1e-6)
        sums = support.sum(-1)
        assert sums.max() < 1 and sums.min() > 0
        raw = affinity.query @ affinity.key.transpose(1, 2) / (2 * 4**0.5)
        assert torch.allclose(affinity.dense(), raw, atol=1e-5)
        assert torch.allclose(affinity.vote(weights, softmax=False), raw.transpose(1, 2) @ weights, atol=1e-4)

    def test_drawn_keys(self, affinity: FusedAttentionAffinity) -> None:
        drawn = torch.tensor([1, 4, 10])
        part = FusedAttentionAffinity(affinity.query, affinity.own_key, affinity.key[:1, drawn], 2, (3, 4), (2, 3, 2),
                                      drawn)
        support = literal(part)[1]
        values, weights = torch.rand(2, 12, 3), torch.rand(2, 12, 2)
        assert torch.allclose(part.attend(values), support @ values[:, drawn], atol=1e-6)
        votes = part.vote(weights)
        assert votes.shape == (2, 12, 2)
        assert torch.allclose(votes[:, drawn], support.transpose(1, 2) @ weights, atol=1e-6)
        assert votes.abs().sum(-1).count_nonzero() == 2 * 3 and part.dense().shape == (2, 12, 12)

    def test_no_matrix_is_held(self) -> None:
        query, key = torch.randn(1, 1024, 8), torch.randn(1, 2048, 8)
        affinity = FusedAttentionAffinity(query, query, key, 2, (32, 32), (2, 32, 32))
        with LargestTensor() as watch, torch.no_grad():
            affinity.vote(torch.rand(1, 1024, 2), chunk_size=16)
        assert watch.largest <= 16 * (1024 + 2048)


@torch.no_grad()
def test_the_attention_is_that_of_the_network(model: DiffewsSegmentor, episode: Episode) -> None:
    """The output of a layer is its attention times all values, own and supports'."""
    query = model.extract_feat(episode.query[None])
    encoding = model.encode_support(episode.support[None], episode.masks[None])
    bank, = encoding.ways
    way, = model.matched_ways(query, encoding)
    assert [x.layer for x in way.affinities] == [0, 1, 2, 3]
    assert [x.query_size for x in way.affinities] == [(16, 16), (8, 8), (16, 16), (16, 16)]
    assert torch.equal(way.logits(), model.logits(episode.query[None], encoding))
    layer = model.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    seen = []
    hook = layer.register_forward_hook(lambda module, args, out: seen.append((args[0], out)))
    model.read(query[0][0], bank)
    hook.remove()
    (hidden, out), = seen
    attention = [x.unflatten(-1, (2, -1)).transpose(1, 2) for x in (
        way.affinities[0].query, torch.cat((way.affinities[0].own_key, bank.keys[0]), 1),
        torch.cat((layer.to_v(hidden), bank.values[0]), 1))]
    expected = layer.to_out[0](F.scaled_dot_product_attention(*attention).transpose(1, 2).flatten(2))
    assert torch.allclose(out, expected, atol=1e-5)


@torch.no_grad()
def test_evidence_is_attention_to_the_masks(model: DiffewsSegmentor, episode: Episode) -> None:
    query = model.extract_feat(episode.query[None])
    encoding = model.encode_support(episode.support[None], episode.masks[None])
    way, = model.matched_ways(query, encoding)
    for affinity, mask in zip(way.affinities, way.evidence):
        side = affinity.support_size[1]
        rows = [int((i + 0.5) * 32 / side) for i in range(side)]
        values = episode.masks[0][:, rows][:, :, rows].reshape(1, -1, 1)
        expected = (literal(affinity)[1] @ values)[..., 0]
        assert torch.allclose(mask.flatten(1), expected, atol=1e-6) and mask.shape == (1, 1, *affinity.query_size)


@torch.no_grad()
def test_layer_effects(model: DiffewsSegmentor, episode: Episode) -> None:
    """Removing a layer's supports is the softmax over its own keys alone."""
    query = model.extract_feat(episode.query[None])
    encoding = model.encode_support(episode.support[None], episode.masks[None])
    bank, = encoding.ways
    way, = model.matched_ways(query, encoding)
    region = episode.target[None] == 1
    effects = way.layer_effects(region)
    whole = way.logits()[:, 1][region].mean()
    for layer, attention in enumerate((
            model.unet.down_blocks[0].attentions[0], model.unet.mid_block.attentions[0],
            model.unet.up_blocks[1].attentions[0], model.unet.up_blocks[1].attentions[1])):
        module = attention.transformer_blocks[0].attn1

        def plain(module, args, out):
            hidden, heads = args[0], module.heads
            parts = [project(hidden).unflatten(-1, (heads, -1)).transpose(1, 2)
                     for project in (module.to_q, module.to_k, module.to_v)]
            scores = (parts[0] @ parts[1].transpose(-1, -2) / parts[0].shape[-1]**0.5).softmax(-1)
            return module.to_out[0]((scores @ parts[2]).transpose(1, 2).flatten(2))

        hook = module.register_forward_hook(plain)
        without = model.mask_logits(model.read(query[0][0], bank))[:, 1][region].mean()
        hook.remove()
        assert effects[0, layer].item() == pytest.approx(abs(whole - without).item(), abs=1e-4)
    assert effects.max() > 1e-3


class TestAffEx:

    def test_contributions(self, model: DiffewsSegmentor, episode: Episode) -> None:
        explanation = EXPLAINERS.build(dict(type='signed_affex', mask_blur_kernel_size=5)).explain(
            model, episode, 'ground_truth')
        assert explanation.attribution.shape == (1, 2, 32, 32) and explanation.attribution.isfinite().all()
        contributions = explanation.contributions
        assert contributions.own_shares.shape == contributions.weights.shape == (1, 4)
        with torch.no_grad():
            query, encoding = model.encode(episode.query[None], episode.support[None], episode.masks[None])
            way, = model.matched_ways(query, encoding)
        region = (episode.target == 1).float()
        for layer, affinity in enumerate(way.affinities):
            own, support = literal(affinity)
            # The region at the layer's size: the adjoint of resizing, which here is the mean over cells or bilinear.
            resized = F.interpolate(torch.eye(affinity.num_query).view(-1, 1, *affinity.query_size), (32, 32),
                                    mode='bilinear', antialias=True)[:, 0]
            inside, everywhere = (resized * region).sum((1, 2)), resized.sum((1, 2))
            expected = (inside * own.sum(-1)[0]).sum() / inside.sum()
            assert contributions.own_shares[0, layer].item() == pytest.approx(expected.item(), abs=1e-4)
            shares = support[0].T @ inside / (region.sum() * (support[0].T @ everywhere + EPS))
            assert torch.allclose(contributions.shares[layer].flatten(), shares, rtol=1e-3)
        assert contributions.summary()['own_shares'] == contributions.own_shares.tolist()

    def test_other_models_keep_nothing(self) -> None:
        from tests.tiny.model import build_tiny_model
        other = draw_episode(1, 1, (48, 64))
        explanation = EXPLAINERS.build(dict(type='unmasked_affex')).explain(build_tiny_model(), other, 'all')
        assert explanation.contributions.own_shares is None
        assert 'own_shares' not in explanation.contributions.summary()

    def test_batch(self, model: DiffewsSegmentor) -> None:
        episodes = [draw_episode(1, 1, (32, 32), name=name) for name in 'ab']
        explainer = EXPLAINERS.build(dict(type='masked_affex', mask_blur_kernel_size=5))
        together = explainer.attribute_batch(model, episodes, 'ground_truth')
        one = torch.stack([explainer.attribute(model, x, 'ground_truth') for x in episodes])
        assert torch.allclose(together, one, atol=1e-3)

    def test_with_drawn_tokens(self, episode: Episode) -> None:
        drawing = build_diffews(kv_sample='train_length')
        explanation = EXPLAINERS.build(dict(type='unmasked_affex')).explain(drawing, episode, 'ground_truth')
        shares = explanation.contributions.shares
        assert [int(x.count_nonzero()) for x in shares] == [256, 64, 256, 256]


@pytest.mark.parametrize('name', [name for name in NAMES if name not in HEADS])
def test_every_explainer(model: DiffewsSegmentor, episode: Episode, name: str) -> None:
    explainer = build_explainer(name)
    if hasattr(explainer, 'mask_blur_kernel_size'):
        explainer.mask_blur_kernel_size = 5
    single = Episode(episode.query, episode.support[:, :1], episode.masks[:, :1], episode.target)
    attribution = explainer.attribute(model, single, 'ground_truth')
    assert attribution.shape == (1, 1, 32, 32) and attribution.isfinite().all()


def test_saturated_pixels_have_gradients(model: DiffewsSegmentor) -> None:
    picture = torch.full((1, 3, 2, 2), 3.).requires_grad_()
    model.decision(picture)[:, 1].sum().backward()
    assert torch.allclose(picture.grad, torch.full_like(picture, 8 / 6))


def test_a_causal_metric(model: DiffewsSegmentor, episode: Episode) -> None:
    metric = build_attribution_metric('miou_loss@5%')
    subject = PerturbedEpisode(model, episode)
    value = metric.measure(subject, episode.masks * torch.rand(32, 32), (episode.target == 1)[None])
    assert value.value == value.value


def planted_model() -> DiffewsSegmentor:
    """Supports are read like queries, and tokens attend to tokens that look like them."""
    model = build_diffews()
    with torch.no_grad():
        conv, reference = model.unet.conv_in, model.unet.conv_in_ref
        reference.weight.copy_(torch.cat((conv.weight, torch.zeros_like(conv.weight)), 1))
        reference.bias.copy_(conv.bias)
        for module in model.unet.modules():
            if type(module).__name__ == 'BasicTransformerBlock':
                for projection in (module.attn1.to_q, module.attn1.to_k):
                    projection.weight.copy_(2 * torch.eye(len(projection.weight)))
    return model


def test_planted_truth() -> None:
    """Of three supports one is the query itself: its object gets the credit, not its ground or the other supports."""
    right, first, second = (draw_episode(1, 1, (32, 32), name=name) for name in ('right', 'wrong', 'other'))
    images = torch.stack([first.query, right.query, second.query])
    masks = torch.stack([first.target, right.target, second.target]).float()
    episode = Episode(right.query, images[None], masks[None], right.target)
    attribution = EXPLAINERS.build(dict(type='unmasked_affex')).attribute(planted_model(), episode, 'ground_truth')[0]
    inside = [(x * mask).sum() / mask.sum() for x, mask in zip(attribution, masks)]
    outside = (attribution[1] * (1 - masks[1])).sum() / (1 - masks[1]).sum()
    assert inside[1] > 1.5 * outside
    assert inside[1] > 1.2 * max(inside[0], inside[2])

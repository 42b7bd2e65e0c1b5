"""The few-shot ScaleProtoSeg head: equal to its definition, shots, batches, degenerate masks, precision, readings."""
import math
from typing import Any, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.models import FeaturePyramid, FewShotScaleProtoHead
from mmfss.registry import MODELS
from tests.references.few_shot_scaleproto import LiteralHead
from tests.references.seeded import seeded_image, seeded_mask

CHANNELS = ((6, 6), (10, ), (12, 12))
SIZES = ((6, 8), (3, 4), (2, 2))
OPTIONS = dict(scale_channels=8, prototypes_per_scale=(2, 3), num_groups=(2, 2), num_iterations=4, decoder_channels=8)


def build(channels: Sequence = CHANNELS, **options: Any) -> FewShotScaleProtoHead:
    """In float64 and eval mode, with learned numbers and a decoder that matter."""
    torch.manual_seed(0)
    head = MODELS.build(dict(type='FewShotScaleProtoHead', in_channels=channels, **{**OPTIONS, **options}))
    focus = [] if head.focus is None else head.focus.parameters()
    for parameter in (*head.temperature.parameters(), *focus, head.preference, head.scaled_bias):
        nn.init.normal_(parameter, std=0.05)
    for norm in head.scales.norms:
        nn.init.normal_(norm.weight, 1.5, 0.3)
    if head.decoder is not None:
        nn.init.normal_(head.decoder[-1].weight, std=0.3)
    return head.double().eval()


def pyramid(batch: int, sizes: Sequence = SIZES, seed: int = 0, channels: Sequence = CHANNELS) -> FeaturePyramid:
    return FeaturePyramid(tuple(
        tuple(torch.from_numpy(seeded_image(f'{level}.{i}', (batch, width, *size), seed)).double()
              for i, width in enumerate(widths)) for level, (widths, size) in enumerate(zip(channels, sizes))))


def some_masks(batch: int, shots: int, size: tuple[int, int] = (48, 64), seed: int = 0) -> Tensor:
    return torch.from_numpy(seeded_mask('masks', (batch, shots, *size), seed)).double()


def at(*index: int) -> Tensor:
    return torch.tensor(index)


class TestDefinition:

    @pytest.mark.parametrize(('options', 'shots', 'query_sizes'), [
        (dict(), 1, SIZES),
        (dict(snap=True), 2, ((5, 3), (3, 2), (1, 1))),
        (dict(prototypes_per_scale=(1, 4), num_groups=(3, 1), epsilon=0.1, focus=0.4), 2, ((4, 7), (2, 4), (1, 2))),
    ])
    @torch.no_grad()
    def test_equals_the_literal_head(self, options: dict, shots: int, query_sizes: tuple) -> None:
        head = build(decoder_channels=0, **options)
        query, supports, masks = pyramid(2, query_sizes, seed=1), pyramid(2 * shots), some_masks(2, shots)
        encoding = head.encode_support(supports, masks)
        logits = head(query, encoding)
        literal = LiteralHead(head)
        for episode in range(2):
            sides = literal.encode(supports.select(torch.arange(shots) + shots * episode), masks[episode])
            odds = literal.odds(query.select(at(episode)), sides)
            assert odds.std() > 0.1
            torch.testing.assert_close(logits[episode], torch.stack((-odds / 2, odds / 2)), rtol=0, atol=1e-8)
            for side, found in enumerate(sides):
                rows = encoding.assignments[episode][:, encoding.side == side]
                torch.testing.assert_close(rows, torch.tensor(found['R'], dtype=torch.float64), rtol=0, atol=1e-9)

    @pytest.mark.parametrize('value', [0., 1.])
    @torch.no_grad()
    def test_a_mask_of_nothing_or_everything(self, value: float) -> None:
        head = build(decoder_channels=0)
        query, supports, masks = pyramid(1, seed=1), pyramid(1), torch.full((1, 1, 48, 64), value).double()
        odds = head(query, head.encode_support(supports, masks))[0, 1] * 2
        literal = LiteralHead(head)
        expected = literal.odds(query, literal.encode(supports, masks[0]))
        torch.testing.assert_close(odds, expected, rtol=0, atol=1e-8)

    @torch.no_grad()
    def test_a_single_prototype_is_masked_average_pooling(self) -> None:
        head = build(((5, ), ), prototypes_per_scale=(1, 1), num_groups=(1, 1), decoder_channels=0)
        sizes = ((6, 8), )
        query, support = pyramid(1, sizes, 1, ((5, ), )), pyramid(1, sizes, 0, ((5, ), ))
        mask = torch.zeros(1, 1, 6, 8).double()
        mask[..., 2:5, 1:4] = 1
        z, s = head.scales(query.levels)[0, 0], head.scales(support.levels)[0, 0]
        odds = torch.zeros(6, 8).double()
        for sign, m in ((1, mask[0, 0]), (-1, 1 - mask[0, 0])):
            prototype = (s * m).sum((1, 2)) / m.sum()
            d = head.temperature() * (z - prototype[:, None, None]).square().sum(0)
            odds += sign * head.sharpness() * ((d + 1) / (d + 0.01)).log()
        odds += 10 * head.scaled_bias
        torch.testing.assert_close(head(query, head.encode_support(support, mask))[0, 1], odds / 2)

    @torch.no_grad()
    def test_snapped_prototypes_are_support_cells(self) -> None:
        head = build(snap=True).float()
        images, masks = pyramid(1).map(Tensor.float), some_masks(1, 1).float()
        encoding = head.encode_support(images, masks)
        reading = head.read(images, encoding)
        assert torch.equal(encoding.assignments.sum(-1), encoding.exists.float())
        assert encoding.exists.all() and ((encoding.assignments == 1).sum(-1) == 1).all()
        # The query is the support: at the source the similarity is that of a hit.
        hits = reading.similarities.flatten(3).gather(3, encoding.sources[..., None])
        assert hits.min() > math.log(1e4) - 0.15 and hits.max() < math.log(1e4) + 1e-4

    @torch.no_grad()
    def test_decoder_reads_scales_and_groups(self) -> None:
        head = build()
        query, encoding = pyramid(2, seed=1), head.encode_support(pyramid(2), some_masks(2, 1))
        reading = head.read(query, encoding)
        said = [reading.similarities[:, :, :2], reading.similarities[:, :, 2:]]
        of_scales = [(head.sharpness() * side).exp().mean(2).log() for side in said]
        maps = torch.cat((torch.stack(of_scales, dim=2).flatten(1, 2), reading.sides), dim=1) / head.sharpness()
        odds = reading.odds + head.decoder(maps)
        torch.testing.assert_close(reading.logits, torch.stack((-odds / 2, odds / 2), dim=1))
        assert (odds - reading.odds).std() > 0.01


class TestEpisodes:

    @torch.no_grad()
    def test_batch_equals_single_episodes(self) -> None:
        head, query, supports, masks = build(), pyramid(2, seed=1), pyramid(4), some_masks(2, 2)
        together = head(query, head.encode_support(supports, masks))
        assert together.shape == (2, 2, 6, 8)
        for episode in range(2):
            shots = supports.select(at(2 * episode, 2 * episode + 1))
            encoding = head.encode_support(shots, masks[episode:episode + 1])
            torch.testing.assert_close(head(query.select(at(episode)), encoding)[0], together[episode])

    @torch.no_grad()
    def test_one_support_set_for_several_queries(self) -> None:
        head, query = build(), pyramid(3, seed=1)
        encoding = head.encode_support(pyramid(2), some_masks(1, 2))
        together = head(query, encoding)
        for index in range(3):
            torch.testing.assert_close(head(query.select(at(index)), encoding)[0], together[index])
        assert head.read(query, encoding).support_maps().shape == (3, 2, 2, 6, 8)

    @torch.no_grad()
    def test_shots_are_one_set_of_cells(self) -> None:
        """Their order does not matter, twice the same is the same, and each counts."""
        head, query, supports, masks = build(), pyramid(1, seed=1), pyramid(3), some_masks(1, 3)
        together = head(query, head.encode_support(supports, masks))
        order = at(2, 0, 1)
        torch.testing.assert_close(head(query, head.encode_support(supports.select(order), masks[:, order])), together)
        alone = head(query, head.encode_support(supports.select(at(0)), masks[:, :1]))
        twice = head(query, head.encode_support(supports.select(at(0, 0)), masks[:, [0, 0]]))
        torch.testing.assert_close(twice, alone)
        assert (together - alone).abs().max() > 1e-2

    @pytest.mark.parametrize('kind', ['empty', 'full', 'one pixel', 'all but one pixel', 'constant image'])
    @torch.no_grad()
    def test_degenerate_supports(self, kind: str) -> None:
        """Finite, independent of the episode beside it, and what cannot exist does not."""
        head, query, supports = build(), pyramid(2, seed=1), pyramid(2)
        masks = some_masks(2, 1)
        pixel = torch.zeros(48, 64).double()
        pixel[20, 30] = 1
        if kind == 'constant image':
            supports = supports.map(lambda x: torch.cat((x[:1, :, :1, :1].expand_as(x[:1]), x[1:])))
        else:
            masks[0, 0] = {'empty': 0 * pixel, 'full': 0 * pixel + 1, 'one pixel': pixel,
                           'all but one pixel': 1 - pixel}[kind]
        encoding = head.encode_support(supports, masks)
        logits = head(query, encoding)
        assert logits.isfinite().all() and encoding.vectors.isfinite().all()
        foreground, background = (encoding.of_side(side)[0].sum(-1).tolist() for side in (0, 1))
        expected = {'empty': (0, 3), 'full': (2, 0), 'one pixel': (1, 3), 'all but one pixel': (2, 1),
                    'constant image': (1, 1)}[kind]
        assert (foreground, background) == ([expected[0]] * 3, [expected[1]] * 3)
        for episode in range(2):
            alone = head.encode_support(supports.select(at(episode)), masks[episode:episode + 1])
            torch.testing.assert_close(head(query.select(at(episode)), alone)[0], logits[episode])
        for affinity in head.match(query, encoding):
            assert affinity.dense().isfinite().all()
            torch.testing.assert_close(affinity.dense().softmax(-1).sum(-1), torch.ones(2, 48).double())
        reading = head.read(query, encoding)
        assert reading.support_maps().isfinite().all() and reading.group_shares.isfinite().all()

    def test_gradients_of_degenerate_masks(self) -> None:
        head, masks = build(), torch.stack((torch.zeros(1, 48, 64), torch.ones(1, 48, 64))).double()
        query, supports = (p.map(lambda x: x.requires_grad_()) for p in (pyramid(2, seed=1), pyramid(2)))
        masks.requires_grad_()
        head(query, head.encode_support(supports, masks)).square().sum().backward()
        gradients = [x.grad for p in (query, supports) for level in p for x in level]
        assert all(grad.isfinite().all() for grad in (*gradients, masks.grad))
        assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())

    def test_gradients_flow(self) -> None:
        """To features of query and support, to the masks, and to every weight."""
        head, masks = build(), some_masks(1, 2).requires_grad_()
        query, supports = (p.map(lambda x: x.requires_grad_()) for p in (pyramid(1, seed=1), pyramid(2)))
        logits, losses = head.forward_train(query, head.encode_support(supports, masks), torch.ones(1, 48, 64).long())
        (logits[:, 1].square().sum() + sum(losses.values())).backward()
        for x in (*(x for p in (query, supports) for level in p for x in level), masks, *head.parameters()):
            assert x.grad is not None and x.grad.isfinite().all() and x.grad.any()

    @torch.no_grad()
    def test_bfloat16_is_close(self) -> None:
        head = build().float()
        query, supports, masks = pyramid(2, seed=1).map(Tensor.float), pyramid(2).map(Tensor.float), some_masks(2, 1)
        exact = head(query, head.encode_support(supports, masks.float()))
        with torch.autocast('cpu', dtype=torch.bfloat16):
            encoding = head.encode_support(supports, masks.float())
            rough = head(query, encoding)
        assert encoding.vectors.dtype == encoding.groups.dtype == rough.dtype == torch.float32
        assert (rough - exact).abs().mean() < 0.05 * exact.std()

    @torch.no_grad()
    def test_compiled(self) -> None:
        head, query = build(), pyramid(2, seed=1)
        encoding = head.encode_support(pyramid(2), some_masks(2, 1))
        compiled = torch.compile(lambda features: head(features, encoding), backend='eager')
        torch.testing.assert_close(compiled(query), head(query, encoding))


class TestEffects:

    @torch.no_grad()
    def test_without_evidence_the_bias_is_left(self) -> None:
        head, query = build(decoder_channels=0), pyramid(1, seed=1)
        encoding = head.encode_support(pyramid(1), some_masks(1, 1))
        evidence = [head.aggregate(affinity, encoding) for affinity in head.match(query, encoding)]
        logits = head.decode([torch.zeros_like(x) for x in evidence], query, encoding)
        expected = (5 * head.scaled_bias).expand(1, 6, 8)
        torch.testing.assert_close(logits, torch.stack((-expected, expected), dim=1))

    @torch.no_grad()
    def test_effects_by_decoding_anew(self) -> None:
        head, query = build(), pyramid(2, seed=1)
        encoding = head.encode_support(pyramid(2), some_masks(2, 1))
        evidence = [head.aggregate(affinity, encoding) for affinity in head.match(query, encoding)]
        torch.testing.assert_close(head.decode(evidence, query, encoding), head(query, encoding))
        region = some_masks(2, 1, (12, 16), seed=3)[:, 0].bool()
        effects = head.layer_effects(evidence, query, encoding, region)
        for episode in range(2):
            own = [x[episode:episode + 1] for x in evidence]
            shots = head.encode_support(pyramid(2).select(at(episode)), some_masks(2, 1)[episode:episode + 1])
            for layer in range(3):
                without = [torch.zeros_like(x) if i == layer else x for i, x in enumerate(own)]
                pair = [F.interpolate(head.decode(e, query, shots), (12, 16), mode='bilinear')[0, 1] for e in (
                    own, without)]
                expected = (pair[0] - pair[1])[region[episode]].mean().abs()
                torch.testing.assert_close(effects[episode, layer], expected)
            alone = head.layer_effects(own, query.select(at(episode)), shots, region[episode:episode + 1])
            torch.testing.assert_close(alone[0], effects[episode])


class TestReading:

    @pytest.fixture
    def read(self) -> tuple:
        head = build()
        encoding = head.encode_support(pyramid(4), some_masks(2, 2))
        return head, encoding, head.read(pyramid(2, seed=1), encoding)

    def test_shapes(self, read: tuple) -> None:
        head, encoding, reading = read
        assert reading.similarities.shape == (2, 3, 5, 6, 8) and reading.activations.shape == (2, 4, 6, 8)
        assert reading.assignment_maps().shape == (2, 3, 5, 2, 6, 8) and reading.source_places().shape == (2, 3, 5, 3)
        assert torch.equal(reading.logits, head(pyramid(2, seed=1), encoding))

    def test_groups(self, read: tuple) -> None:
        _, encoding, reading = read
        expected = torch.einsum('bgsp,bsphw->bghw', encoding.groups, reading.similarities)
        torch.testing.assert_close(reading.activations, expected)
        torch.testing.assert_close(encoding.groups.sum((2, 3)), torch.ones(2, 4).double())
        # A group keeps to its side, and leaves prototypes out.
        assert not encoding.groups[:, :2, :, 2:].any() and not encoding.groups[:, 2:, :, :2].any()
        assert (encoding.groups[:, :2, :, :2] == 0).any()
        shares = reading.group_shares
        for groups in (slice(0, 2), slice(2, 4)):
            torch.testing.assert_close(shares[:, groups], (reading.sharpness * expected[:, groups]).softmax(1))

    def test_contributions_are_complete(self, read: tuple) -> None:
        _, encoding, reading = read
        maps = reading.prototype_maps()
        assert maps.min() >= 0
        for side, of_side in enumerate((slice(0, 2), slice(2, 5))):
            torch.testing.assert_close(maps[:, :, of_side].sum((1, 2)), reading.sides[:, side])
        torch.testing.assert_close(reading.sides[:, 0] - reading.sides[:, 1] + reading.bias, reading.odds)
        region = some_masks(2, 1, (6, 8), seed=5)[:, 0].bool()
        support = reading.support_maps(region)
        torch.testing.assert_close(support.sum((2, 3, 4)), (reading.sides * region[:, None]).sum((2, 3)))
        dense = torch.einsum('bsphw,bspn,bhw->bn', maps[:, :, :2], encoding.assignments[:, :, :2], region.double())
        torch.testing.assert_close(support[:, 0].flatten(1), dense)

    def test_sources_and_assignments_are_of_their_side(self, read: tuple) -> None:
        head, encoding, reading = read
        share = F.adaptive_avg_pool2d(some_masks(2, 2), (6, 8))
        for side, (own, of_side) in enumerate(((share, slice(0, 2)), (1 - share, slice(2, 5)))):
            shot, row, column = reading.source_places()[:, :, of_side].unbind(-1)
            assert all((own[b, shot[b], row[b], column[b]] >= 0.5 * own[b].max()).all() for b in range(2))
            weights = reading.assignment_maps()[:, :, of_side]
            assert not weights[(own == 0)[:, None, None].expand_as(weights)].any()
            assert not reading.support_maps()[:, side][own == 0].any()
        torch.testing.assert_close(reading.assignment_maps().sum((3, 4, 5)), encoding.exists.double())

    def test_source_is_the_nearest_cell(self, read: tuple) -> None:
        head, encoding, reading = read
        cells = head.cells(pyramid(4), 2)
        share = F.adaptive_avg_pool2d(some_masks(2, 2), (6, 8)).flatten(1)
        for b in range(2):
            core = share[b] >= 0.5 * share[b].max()
            distances = (cells[b, 1] - encoding.vectors[b, 1, 0]).square().sum(-1)
            assert distances[encoding.sources[b, 1, 0]] == distances[core].min()


class TestLosses:

    def test_by_hand(self) -> None:
        head = build(decoder_channels=0, foreground_weight=3., group_weight=0.5, scale_weight=0.25)
        query, encoding = pyramid(1, seed=1), head.encode_support(pyramid(1), some_masks(1, 1))
        target = torch.zeros(1, 6, 8).long()
        target[:, 2:4], target[:, 5] = 1, 255
        logits, losses = head.forward_train(query, encoding, target)
        assert sorted(losses) == ['loss_groups', 'loss_scales']
        weights = torch.ones(1, 6, 8).double()
        weights[:, 2:4] = 3
        labels = (target == 1).long()
        terms = weights * F.cross_entropy(logits, labels, reduction='none')
        torch.testing.assert_close(head.loss(logits, target)['loss_ce'], terms.mean(), rtol=1e-6, atol=0)
        torch.testing.assert_close(losses['loss_groups'], 0.5 * terms.mean())
        expected = 0.
        for affinity in head.match(query, encoding):
            object_share = affinity.memberships()[:, :2].sum(1).view(1, 6, 8)
            likelihood = torch.where(labels == 1, object_share, 1 - object_share)
            expected += 0.25 * (weights * -likelihood.log()).mean() / 3
        torch.testing.assert_close(losses['loss_scales'], expected)

    def test_ignored_pixels(self) -> None:
        head = build(decoder_channels=0, ignore_index=255, foreground_weight=2.)
        query, encoding = pyramid(1, seed=1), head.encode_support(pyramid(1), some_masks(1, 1))
        target = torch.zeros(1, 6, 8).long()
        target[:, 2:4], target[:, 5] = 1, 255
        logits, losses = head.forward_train(query, encoding, target)
        kept, weights = target != 255, 1. + (target == 1)
        terms = (weights * F.cross_entropy(logits, (target == 1).long(), reduction='none'))[kept]
        torch.testing.assert_close(losses['loss_groups'], 0.4 * terms.mean())
        torch.testing.assert_close(head.loss(logits, target)['loss_ce'], terms.mean(), rtol=1e-6, atol=0)

    def test_without_the_own_losses(self) -> None:
        head = build(group_weight=0., scale_weight=0.)
        encoding = head.encode_support(pyramid(1), some_masks(1, 1))
        logits, losses = head.forward_train(pyramid(1, seed=1), encoding, torch.zeros(1, 48, 64).long())
        assert losses == {} and torch.equal(logits, head(pyramid(1, seed=1), encoding))

    def test_missing_side_does_not_blow_up(self) -> None:
        head = build()
        encoding = head.encode_support(pyramid(1), torch.zeros(1, 1, 48, 64).double())
        _, losses = head.forward_train(pyramid(1, seed=1), encoding, torch.ones(1, 48, 64).long())
        assert 0 < losses['loss_scales'] <= 0.4 * 20 + 1e-6 and losses['loss_groups'].isfinite()


@pytest.mark.parametrize(('options', 'message'), [
    (dict(prototypes_per_scale=(4, 0)), r'prototypes_per_scale must be .* at least 1 each, got \(4, 0\)'),
    (dict(num_groups=(3, )), 'num_groups must be a number of foreground and one of background'),
    (dict(epsilon=0.), 'epsilon must be between 0 and 1, got 0'),
    (dict(focus=0.), 'sharpness, focus and foreground_weight must be above 0'),
    (dict(sharpness=0.), 'sharpness, focus and foreground_weight must be above 0'),
    (dict(foreground_weight=-1.), 'sharpness, focus and foreground_weight must be above 0'),
    (dict(scale_weight=-1.), 'must not be negative, got 4, 8, 0.4 and -1'),
    (dict(scale_channels=10), 'scale_channels must be a positive multiple of 4'),
    (dict(decoder_channels=6), 'multiple of 4, got 6'),
])
def test_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)



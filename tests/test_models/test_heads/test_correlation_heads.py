"""What HSNet and DMTNet share: shapes, shots, batches, sizes, degenerate masks, gradients, precision, ablations."""
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from torch import Tensor, nn

from mmfss import register_all_modules
from mmfss.models import DMTNetHead, FeaturePyramid, FewShotSegmentor, HSNetHead
from mmfss.models.heads.correlation_head import CorrelationHead, stack_level
from mmfss.models.heads.matching_head import foreground_mean
from mmfss.models.layers import resize_aligned
from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample
from tests.references.seeded import seeded_image, seeded_mask

CHANNELS = ((12, 12), (16, 16, 16), (24, ))
SIZES = ((16, 16), (8, 8), (4, 4))
HEADS = dict(hsnet=HSNetHead, dmtnet=DMTNetHead)


def build(name: str, **options: Any) -> CorrelationHead:
    torch.manual_seed(0)
    head = HEADS[name](CHANNELS, **options).eval()
    # Logits of some size, that differ between positions.
    nn.init.normal_(head.learner.decoder2[2].weight, std=0.5)
    return head


def pyramid(batch: int, sizes: tuple = SIZES, seed: int = 0) -> FeaturePyramid:
    levels = [[torch.from_numpy(seeded_image(f'{level}.{i}', (batch, width, *size), seed))
               for i, width in enumerate(widths)] for level, (widths, size) in enumerate(zip(CHANNELS, sizes))]
    return FeaturePyramid(tuple(map(tuple, levels)))


def some_masks(batch: int, shots: int, size: tuple[int, int] = (128, 128), seed: int = 0) -> Tensor:
    return torch.from_numpy(seeded_mask('masks', (batch, shots, *size), seed))


@pytest.fixture(params=HEADS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


class TestPrediction:

    @torch.no_grad()
    def test_shapes_and_order(self, name: str) -> None:
        head = build(name)
        query, encoding = pyramid(2, seed=1), head.encode_support(pyramid(6), some_masks(2, 3))
        affinities = list(head.match(query, encoding))
        # From the coarsest level to the finest.
        assert [affinity.query_size for affinity in affinities] == [(4, 4)] + [(8, 8)] * 3 + [(16, 16)] * 2
        assert [affinity.support_size for affinity in affinities][0] == (3, 4, 4)
        evidence = [head.aggregate(affinity, encoding) for affinity in affinities]
        assert evidence[-1].shape == (2, 3, head.sides, 16, 16, 16, 16)
        logits = head.decode(evidence, query, encoding)
        assert logits.shape == (2, 3, 2, 32, 32)
        torch.testing.assert_close(head(query, encoding), logits, atol=1e-5, rtol=1e-5)
        assert head.combine_shots(logits, (70, 90)).shape == (2, 2, 70, 90)

    @torch.no_grad()
    def test_shots_are_predictions_of_their_own(self, name: str) -> None:
        head, query, supports, masks = build(name), pyramid(1, seed=1), pyramid(3), some_masks(1, 3)
        together = head(query, head.encode_support(supports, masks))
        for shot in range(3):
            alone = head.encode_support(supports.select(torch.tensor([shot])), masks[:, shot:shot + 1])
            torch.testing.assert_close(head(query, alone)[:, 0], together[:, shot], atol=1e-5, rtol=1e-4)
        assert (together[:, 0] - together[:, 1]).abs().max() > 1e-3

    @pytest.mark.parametrize('rule', ['vote', 'mean', 'max'])
    @torch.no_grad()
    def test_rules_for_shots(self, name: str, rule: str) -> None:
        head = build(name, shots=rule)
        logits = torch.randn(2, 3, 2, 8, 8)
        full = resize_aligned(logits.flatten(0, 1), (20, 24)).unflatten(0, (2, 3))
        combined = head.combine_shots(logits, (20, 24))
        assert torch.equal(combined, head.shot_rule(full))
        if rule == 'vote':
            votes = full.argmax(2).sum(1)
            most = votes.flatten(1).amax(1).clamp(min=1).view(-1, 1, 1)
            assert torch.equal(combined.argmax(1), (votes / most >= 0.5).long())

    @torch.no_grad()
    def test_batch_equals_single_episodes(self, name: str) -> None:
        head, query, supports, masks = build(name), pyramid(2, seed=1), pyramid(4), some_masks(2, 2)
        together = head(query, head.encode_support(supports, masks))
        for episode in range(2):
            shots = torch.tensor([2 * episode, 2 * episode + 1])
            encoding = head.encode_support(supports.select(shots), masks[episode:episode + 1])
            alone = head(query.select(torch.tensor([episode])), encoding)
            torch.testing.assert_close(alone[0], together[episode], atol=1e-5, rtol=1e-4)

    @torch.no_grad()
    def test_one_support_set_for_several_queries(self, name: str) -> None:
        head, query = build(name), pyramid(3, seed=1)
        encoding = head.encode_support(pyramid(2), some_masks(1, 2))
        logits = head(query, encoding)
        assert logits.shape[:2] == (3, 2)
        for index in range(3):
            torch.testing.assert_close(head(query.select(torch.tensor([index])), encoding)[0], logits[index], atol=1e-5,
                                       rtol=1e-4)

    @torch.no_grad()
    def test_sizes_that_differ_and_follow_each_other(self, name: str) -> None:
        """Not square, query unlike support; a first small input does not spoil what follows."""
        used, fresh = build(name), build(name)
        small = used.encode_support(pyramid(1), some_masks(1, 1))
        used(pyramid(1, seed=1), small)
        query, support = ((13, 21), (7, 11), (4, 6)), ((12, 23), (6, 12), (4, 6))
        for head in (used, fresh):
            encoding = head.encode_support(pyramid(1, support), some_masks(1, 1, (96, 184)))
            head.result = head(pyramid(1, query, seed=1), encoding)
        assert used.result.shape == (1, 1, 2, 26, 42)
        assert torch.equal(used.result, fresh.result)

    @pytest.mark.parametrize('kind', ['empty', 'full', 'one pixel', 'mixed batch'])
    @torch.no_grad()
    def test_degenerate_masks(self, name: str, kind: str) -> None:
        """Finite, and an episode does not depend on those beside it."""
        head, query, supports = build(name), pyramid(2, seed=1), pyramid(2)
        masks = some_masks(2, 1)
        masks[0] = 1. if kind == 'full' else 0.
        if kind == 'one pixel':
            masks[0, 0, 64, 64] = 1
        if kind == 'mixed batch':
            masks[1] = 1
        logits = head(query, head.encode_support(supports, masks))
        assert logits.isfinite().all()
        for episode in range(2):
            index = torch.tensor([episode])
            encoding = head.encode_support(supports.select(index), masks[index])
            torch.testing.assert_close(head(query.select(index), encoding)[0], logits[episode], atol=1e-5, rtol=1e-4)
        affinities = head.match(query, head.encode_support(supports, masks))
        assert all(affinity.dense().isfinite().all() for affinity in affinities)

    @torch.no_grad()
    def test_empty_support_is_no_evidence(self) -> None:
        head = build('hsnet')
        query, encoding = pyramid(1, seed=1), head.encode_support(pyramid(1), torch.zeros(1, 1, 128, 128))
        evidence = [head.aggregate(affinity, encoding) for affinity in head.match(query, encoding)]
        assert all(not x.any() for x in evidence)

    @torch.no_grad()
    def test_bfloat16_is_close(self, name: str) -> None:
        head, query, supports, masks = build(name), pyramid(2, seed=1), pyramid(2), some_masks(2, 1)
        exact = head(query, head.encode_support(supports, masks))
        with torch.autocast('cpu', dtype=torch.bfloat16):
            rough = head(query, head.encode_support(supports, masks)).float()
        assert (rough - exact).abs().mean() < 0.05 * exact.std()

    @torch.no_grad()
    def test_float64(self, name: str) -> None:
        head, query, supports, masks = build(name), pyramid(2, seed=1), pyramid(2), some_masks(2, 1)
        single = head(query, head.encode_support(supports, masks))
        query, supports = (p.map(lambda x: x.double()) for p in (query, supports))
        double = head.double()(query, head.encode_support(supports, masks.double()))
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, atol=1e-4, rtol=1e-4)

    def test_gradients_flow_and_do_not_change_the_result(self, name: str) -> None:
        """To features of query and support (explainers ask for them) and to every weight; and to the masks."""
        head, masks = build(name), some_masks(1, 2).requires_grad_()
        query, supports = (p.map(lambda x: x.requires_grad_()) for p in (pyramid(1, seed=1), pyramid(2)))
        logits = head(query, head.encode_support(supports, masks))
        with torch.no_grad():
            torch.testing.assert_close(head(query, head.encode_support(supports, masks)), logits, atol=1e-5, rtol=1e-4)
        logits[:, :, 1].sum().backward()
        inputs = [x for p in (query, supports) for level in p for x in level]
        for x in (*inputs, masks, *head.parameters()):
            assert x.grad is not None and x.grad.isfinite().all() and x.grad.any()

    @torch.no_grad()
    def test_levels_are_written_without_copies(self, name: str) -> None:
        head, query = build(name), pyramid(2, seed=1)
        encoding = head.encode_support(pyramid(4), some_masks(2, 2))
        level = list(head.match(query, encoding))[-2:]
        for shot in range(2):
            stack = stack_level(level, shot, head.sides)
            expected = torch.stack([affinity.correlations()[:, shot] for affinity in level], dim=2).flatten(0, 1)
            torch.testing.assert_close(stack, expected, atol=1e-6, rtol=0)
            # Query positions first: the layout that the first convolution reads.
            assert stack.permute(0, 2, 3, 1, 4, 5).is_contiguous()


class TestOptions:

    def test_errors(self, name: str) -> None:
        with pytest.raises(ValueError, match='reads 3 feature levels, got 2'):
            HEADS[name](CHANNELS[:2])
        with pytest.raises(ValueError, match="Unknown rule 'majority'"):
            HEADS[name](CHANNELS, shots='majority')
        head = build(name)
        with pytest.raises(ValueError, match='height 264 .* nearest that work: 263 and 288 pixels'):
            head.encode_support(pyramid(1, ((33, 33), (16, 16), (8, 8))), torch.ones(1, 1, 264, 264))

    def test_errors_of_dmtnet(self) -> None:
        with pytest.raises(ValueError, match='rcond must be between 0 and 1'):
            DMTNetHead(CHANNELS, rcond=0)
        with pytest.raises(ValueError, match='2 x 2 is too small'):
            build('dmtnet').encode_support(pyramid(1, ((8, 8), (4, 4), (2, 2))), torch.ones(1, 1, 64, 64))

    @torch.no_grad()
    def test_strides_by_config(self, name: str) -> None:
        """A backbone without stride between its last levels."""
        sizes = ((32, 32), (16, 16), (16, 16))
        with pytest.raises(ValueError, match='must be equal'):
            build(name).encode_support(pyramid(1, sizes), some_masks(1, 1))
        head = build(name, support_strides=((4, 2, 2), (4, 2, 2), (4, 4, 2)))
        assert head(pyramid(1, sizes), head.encode_support(pyramid(1, sizes), some_masks(1, 1))).isfinite().all()

    @torch.no_grad()
    def test_clean_background(self) -> None:
        """Resized masks of ones that are one minus a rounding error."""
        soft = torch.tensor([1., 1 - 6e-8, 0.5, 0.]).view(1, 1, 2, 2)
        kept, cleaned = (build('dmtnet', clean_background=clean)._soft_masks(soft)[0, 0, 0].flatten() for clean in (
            False, True))
        assert kept[1] > 0 and cleaned[1] == 0
        assert torch.equal(kept[2:], cleaned[2:])

    @torch.no_grad()
    def test_probabilities_of_one_shot(self) -> None:
        plain, options = build('dmtnet'), build('dmtnet', one_shot_probabilities=True)
        for shots in (1, 2):
            logits = torch.randn(2, shots, 2, 8, 8)
            expected = plain.combine_shots(logits, (8, 8))
            expected = expected.softmax(1) if shots == 1 else expected
            assert torch.equal(options.combine_shots(logits, (8, 8)), expected)
        assert torch.equal(options.combine_shots(logits[:, :1], (8, 8), for_loss=True), logits[:, 0])

    @torch.no_grad()
    def test_the_released_cut_off_is_the_same_where_nothing_is_missing(self) -> None:
        query, supports, masks = pyramid(1, seed=1), pyramid(1), some_masks(1, 1)
        stable, released = build('dmtnet'), build('dmtnet', rcond=1e-15)
        encoding = stable.encode_support(supports, masks)
        scores = stable.coarse_scores(query, encoding)
        both = [x.argmax(2).float().mean() for x in scores]
        assert any(0 < share < 1 for share in both)
        for index, feature in enumerate(stable.compared(query)):
            if 0 < both[index] < 1:
                ours, theirs = (head.transformed(index, feature, layer)[0] for head, layer in (
                    (stable, encoding[index]), (released, released.encode_support(supports, masks)[index])))
                torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


class TestLayerEffects:

    @torch.no_grad()
    def test_hsnet_against_decoding_anew(self) -> None:
        head, query = build('hsnet'), pyramid(2, seed=1)
        encoding = head.encode_support(pyramid(4), some_masks(2, 2))
        evidence = [head.aggregate(affinity, encoding) for affinity in head.match(query, encoding)]
        region = some_masks(2, 1, (50, 60), seed=3)[:, 0].bool()
        effects = head.layer_effects(evidence, query, encoding, region)
        assert effects.shape == (2, 6)

        def means(parts: list[Tensor]) -> Tensor:
            logits = head.decode(parts, query, encoding)
            return torch.stack([foreground_mean(logits[:, shot], region) for shot in range(2)], dim=1)

        whole = means(evidence)
        for layer in range(6):
            without = [torch.zeros_like(x) if index == layer else x for index, x in enumerate(evidence)]
            expected = (whole - means(without)).abs().mean(1)
            torch.testing.assert_close(effects[:, layer], expected, atol=1e-5, rtol=1e-3)

    @torch.no_grad()
    def test_dmtnet_against_decoding_anew(self) -> None:
        head, query = build('dmtnet'), pyramid(1, seed=1)
        encoding = head.encode_support(pyramid(2), some_masks(1, 2))
        evidence = [head.aggregate(affinity, encoding) for affinity in head.match(query, encoding)]
        region = some_masks(1, 1, (50, 60), seed=3)[:, 0].bool()
        effects = head.layer_effects(evidence, query, encoding, region)

        def outputs(parts: list[Tensor]) -> Tensor:
            sides = [head.decode([x[:, :, side:side + 1] for x in parts], query, encoding) for side in range(2)]
            full = [F.interpolate(x[0], (50, 60), mode='bilinear', align_corners=True) for x in sides]
            return torch.stack(full)[..., region[0]]

        whole = outputs(evidence)
        for layer in range(6):
            without = [torch.zeros_like(x) if index == layer else x for index, x in enumerate(evidence)]
            expected = (whole - outputs(without)).abs().mean()
            torch.testing.assert_close(effects[0, layer], expected, atol=1e-5, rtol=1e-3)


BACKBONE = dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8)
TYPES = dict(hsnet='HSNetHead', dmtnet='DMTNetHead')


def segmentor(name: str, **options: Any) -> FewShotSegmentor:
    register_all_modules(init_default_scope=True)
    torch.manual_seed(0)
    head = dict(type=TYPES[name], **options)
    return MODELS.build(dict(type='FewShotSegmentor', backbone=BACKBONE, features=dict(num_levels=3), head=head))


def episodes(batch: int, ways: int, side: int) -> tuple[dict[str, Tensor], list[EpisodeDataSample]]:
    """Preprocessed 1-shot episodes with ignored pixels."""
    samples = []
    for index in range(batch):
        sample = EpisodeDataSample()
        target = sum(number * seeded_mask(f'target{number}', (1, side, side), index) for number in range(1, ways + 1))
        target[:, :3] = 255
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(target).clamp(max=255).long())
        sample.gt_sem_seg.data[(sample.gt_sem_seg.data > ways) & (sample.gt_sem_seg.data < 255)] = ways
        sample.support_sem_seg = torch.from_numpy(seeded_image('masks', (ways, 1, side, side), index) > 0).byte()
        samples.append(sample)
    query = torch.from_numpy(seeded_image('query', (batch, 3, side, side)))
    support = torch.from_numpy(seeded_image('support', (batch, ways, 1, 3, side, side)))
    return dict(query=query, support=support), samples


class TestSegmentor:

    @torch.no_grad()
    def test_the_query_is_read_once_for_all_supports(self, name: str) -> None:
        model, images = segmentor(name).eval(), []
        model.backbone.register_forward_hook(lambda module, args, output: images.append(len(args[0])))
        model.logits(torch.randn(1, 3, 128, 128), torch.randn(1, 1, 5, 3, 128, 128), torch.ones(1, 1, 5, 128, 128))
        assert sum(images) == 6

    @torch.no_grad()
    def test_several_ways(self, name: str) -> None:
        model = segmentor(name).eval()
        support, masks = torch.randn(2, 2, 3, 3, 128, 128), torch.rand(2, 2, 3, 128, 128).round()
        logits = model.logits(torch.randn(2, 3, 128, 160), support, masks)
        assert logits.shape == (2, 3, 128, 160) and logits.isfinite().all()

    def test_losses(self, name: str) -> None:
        model = segmentor(name).train()
        losses = model.loss(*episodes(batch=2, ways=2, side=128))
        own = {'loss_background', 'loss_coarse'} if name == 'dmtnet' else set()
        assert set(losses) == {'loss_ce', *own}
        assert all(loss.isfinite() and loss > 0 for loss in losses.values())
        sum(losses.values()).backward()
        trained = {key for key, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        assert trained == {key for key, p in model.named_parameters() if p.requires_grad}

    def test_ignored_pixels(self) -> None:
        head = build('dmtnet', ignore_index=255)
        target = torch.zeros(1, 16, 16, dtype=torch.long)
        target[:, :4], target[:, 4:8] = 1, 255
        logits = torch.randn(1, 1, 2, 16, 16)
        kept = target != 255
        expected = F.cross_entropy(logits[:, 0], (target != 1).long(), reduction='none')[kept].mean()
        torch.testing.assert_close(head._background_loss(logits, target), expected)
        published = F.cross_entropy(logits[:, 0], (target != 1).long())
        torch.testing.assert_close(build('dmtnet')._background_loss(logits, target), published)

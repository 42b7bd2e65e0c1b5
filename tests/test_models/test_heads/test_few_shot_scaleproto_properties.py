"""What must hold of support prototypes whatever the episode: shots, hits, complete explanations, votes, bad input."""
import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.models import FeaturePyramid, FewShotScaleProtoHead
from mmfss.models.layers.support_prototypes import SupportPrototypes
from tests.references.seeded import seeded_image, seeded_mask
from tests.test_models.test_heads.test_few_shot_scaleproto_head import (
    at,
    build,
    pyramid,
    some_masks,
)
from tests.test_models.test_heads.test_few_shot_scaleproto_segmentor import segmentor

KINDS = dict(pooled=dict(), snapped=dict(snap=True), many=dict(prototypes_per_scale=(4, 5), num_groups=(3, 4)))


@pytest.fixture(params=KINDS)
def head(request: pytest.FixtureRequest) -> FewShotScaleProtoHead:
    return build(**KINDS[request.param])


def single(head: FewShotScaleProtoHead, *pyramids: FeaturePyramid) -> tuple:
    return (head.float(), *(found.map(Tensor.float) for found in pyramids))


def same_prototypes(found: SupportPrototypes, expected: SupportPrototypes) -> None:
    assert torch.equal(found.exists, expected.exists) and torch.equal(found.group_exists, expected.group_exists)
    torch.testing.assert_close(found.vectors, expected.vectors)
    torch.testing.assert_close(found.groups, expected.groups)


def same_sources(cells: Tensor, found: Tensor, expected: Tensor) -> None:
    """Of cells that are alike (a coarse scale repeats its border) any may stand for a prototype: rounding picks it."""
    index = (x[..., None].expand(-1, -1, -1, cells.shape[-1]) for x in (found, expected))
    torch.testing.assert_close(*(cells.gather(2, x) for x in index), rtol=0, atol=1e-12)
    assert (found == expected).float().mean() > 0.7


class TestShots:

    @pytest.mark.parametrize('order', [(1, 0, 2), (2, 1, 0)])
    @torch.no_grad()
    def test_order(self, head: FewShotScaleProtoHead, order: tuple) -> None:
        supports, masks = pyramid(3), some_masks(1, 3)
        expected = head.encode_support(supports, masks)
        found = head.encode_support(supports.select(at(*order)), masks[:, order])
        same_prototypes(found, expected)
        shape = (*expected.assignments.shape[:3], 3, -1)
        torch.testing.assert_close(found.assignments.view(shape), expected.assignments.view(shape)[..., order, :])
        shot, cell = found.sources // 48, found.sources % 48
        same_sources(head.cells(supports, 3), at(*order)[shot] * 48 + cell, expected.sources)

    @pytest.mark.parametrize('copies', [2, 5])
    @torch.no_grad()
    def test_copies_of_one_shot(self, head: FewShotScaleProtoHead, copies: int) -> None:
        supports, masks = pyramid(1), some_masks(1, 1)
        expected = head.encode_support(supports, masks)
        found = head.encode_support(supports.select(at(*[0] * copies)), masks.expand(-1, copies, -1, -1))
        same_prototypes(found, expected)
        shares = found.assignments.unflatten(3, (copies, -1))
        torch.testing.assert_close(shares.sum(3), expected.assignments)
        if head.snap:
            assert ((shares.sum(4) == 1).sum(3) == 1).all()
        else:
            torch.testing.assert_close(shares, (expected.assignments / copies)[..., None, :].expand_as(shares))
        same_sources(head.cells(supports), found.sources % 48, expected.sources)

    @torch.no_grad()
    def test_copies_of_several_shots(self, head: FewShotScaleProtoHead) -> None:
        supports, masks = pyramid(2), some_masks(1, 2)
        found = head.encode_support(supports.select(at(0, 1, 1, 0)), masks[:, [0, 1, 1, 0]])
        same_prototypes(found, head.encode_support(supports, masks))


class TestHits:

    @torch.no_grad()
    def test_query_is_the_support(self) -> None:
        """A snapped prototype is found at its own cell with log 1e4 = 9.21, and nowhere better."""
        head, images = build(snap=True), pyramid(2)
        encoding = head.encode_support(images, some_masks(2, 1))
        similarities = head.read(images, encoding).similarities.flatten(3)
        hits = similarities.gather(3, encoding.sources[..., None]).squeeze(3)
        torch.testing.assert_close(hits, torch.full_like(hits, math.log(1e4)), rtol=0, atol=1e-6)
        assert torch.equal(similarities.amax(3), hits)
        vectors = head.cells(images).gather(2, encoding.sources[..., None].expand(-1, -1, -1, 8))
        assert torch.equal(encoding.vectors, vectors)

    @torch.no_grad()
    def test_one_of_several_shots_is_the_query(self) -> None:
        """Prototypes that were taken from it hit, the others do not."""
        head, images = build(snap=True), pyramid(3)
        encoding = head.encode_support(images, some_masks(1, 3))
        for shot in range(3):
            best = head.read(images.select(at(shot)), encoding).similarities.flatten(3).amax(3)
            taken = encoding.sources // 48 == shot
            assert best[taken].min() > math.log(1e4) - 1e-6
            assert best[~taken].max() < math.log(1e4) - 1e-3


class TestExplanation:
    """In float32, as it is used."""

    @pytest.mark.parametrize('shots', [1, 3])
    @torch.no_grad()
    def test_complete(self, head: FewShotScaleProtoHead, shots: int) -> None:
        """Prototypes, and support cells, sum to what a side says to 1e-5 of it, and sides to the logits."""
        head, query, supports = single(head, pyramid(2, seed=1), pyramid(2 * shots))
        head.decoder = None
        encoding = head.encode_support(supports, some_masks(2, shots).float())
        reading = head.read(query, encoding)
        maps = reading.prototype_maps()
        for side in (0, 1):
            of_side = maps[:, :, encoding.side == side].sum((1, 2))
            torch.testing.assert_close(of_side, reading.sides[:, side], rtol=1e-5, atol=0)
        odds = maps[:, :, encoding.side == 0].sum((1, 2)) - maps[:, :, encoding.side == 1].sum((1, 2)) + reading.bias
        logits = head(query, encoding)
        scale = reading.sides.abs().max()
        torch.testing.assert_close(odds / 2, logits[:, 1], rtol=0, atol=1e-5 * scale)
        torch.testing.assert_close(-odds / 2, logits[:, 0], rtol=0, atol=1e-5 * scale)
        region = torch.from_numpy(seeded_mask('region', (2, 6, 8)))
        for weights in (None, region):
            total = (reading.sides if weights is None else reading.sides * weights[:, None]).sum((2, 3))
            torch.testing.assert_close(reading.support_maps(weights).sum((2, 3, 4)), total, rtol=1e-5, atol=0)

    @torch.no_grad()
    def test_of_a_missing_side(self, head: FewShotScaleProtoHead) -> None:
        """No object is shown: the foreground says 0, and nothing is attributed to it."""
        head, query, supports = single(head, pyramid(1, seed=1), pyramid(1))
        encoding = head.encode_support(supports, torch.zeros(1, 1, 48, 64))
        reading = head.read(query, encoding)
        assert not reading.sides[:, 0].any() and not reading.support_maps()[:, 0].any()
        torch.testing.assert_close(reading.support_maps()[:, 1].sum(), reading.sides[:, 1].sum(), rtol=1e-5, atol=0)

    @torch.no_grad()
    def test_nothing_outside_the_masks(self, head: FewShotScaleProtoHead) -> None:
        head, query, supports = single(head, pyramid(2, seed=1), pyramid(4))
        masks = torch.zeros(2, 2, 6, 8)
        masks[0, 0, 1:4, 2:6] = masks[0, 1, 3:, :4] = masks[1, 0, 2:4, 5:] = 1  # the last shot shows no object
        maps = head.read(query, head.encode_support(supports, masks)).support_maps()
        assert not maps[:, 0][masks == 0].any() and not maps[:, 1][masks == 1].any()
        assert maps[:, 0].sum() > 0 and maps[:, 1].sum() > 0

    @pytest.mark.parametrize('degenerate', [False, True])
    @torch.no_grad()
    def test_vote_is_the_dense_transpose(self, head: FewShotScaleProtoHead, degenerate: bool) -> None:
        head, query, supports = single(head, pyramid(2, ((5, 7), (3, 4), (2, 2)), seed=1), pyramid(4))
        masks = some_masks(2, 2).float()
        masks[0] *= 1 - degenerate
        generator = torch.Generator().manual_seed(0)
        weights, values = (torch.rand(2, size, 3, generator=generator) for size in (35, 96))
        affinities = list(head.match(query, head.encode_support(supports, masks)))
        assert len(affinities) == 3
        for affinity in affinities:
            matrix = affinity.dense().softmax(-1)
            assert matrix.shape == (2, 35, 96)
            torch.testing.assert_close(affinity.vote(weights), matrix.transpose(1, 2) @ weights, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(affinity.attend(values), matrix @ values, rtol=1e-4, atol=1e-6)


class TestBadInput:

    @staticmethod
    def images(*shape: int) -> Tensor:
        return torch.from_numpy(seeded_image('image', (*shape, 3, 64, 48)))

    @staticmethod
    def masks(*shape: int) -> Tensor:
        return torch.from_numpy(seeded_mask('mask', (*shape, 64, 48)))

    @torch.no_grad()
    def test_empty_mask(self) -> None:
        """One way of two shows nothing: finite, and the other way is what it is without."""
        model = segmentor().eval()
        query, support, masks = self.images(1), self.images(1, 2, 1), self.masks(1, 2, 1)
        whole = model.logits(query, support, masks)
        masks[:, 1] = 0
        logits = model.logits(query, support, masks)
        assert logits.shape == (1, 3, 64, 48) and logits.isfinite().all()
        first, second = (model.head(model.extract_feat(query), way)
                         for way in model.encode_support(support, masks).ways)
        expected = model.head(model.extract_feat(query), model.encode_support(support[:, :1], masks[:, :1]).ways[0])
        torch.testing.assert_close(first, expected, rtol=0, atol=1e-3)  # another batch rounds differently
        assert second.isfinite().all() and not torch.equal(logits, whole)

    @torch.no_grad()
    def test_mask_smaller_than_a_cell(self) -> None:
        model = segmentor().eval()
        masks = torch.zeros(1, 1, 1, 64, 48)
        masks[..., 33, 21] = 1
        encoding = model.encode_support(self.images(1, 1, 1), masks).ways[0]
        assert encoding.of_side(0).sum(-1).tolist() == [[1] * encoding.exists.shape[1]]
        row, column = 33 * encoding.size[1] // 64, 21 * encoding.size[2] // 48
        assert (encoding.sources[0, :, 0] == row * encoding.size[2] + column).all()

    @pytest.mark.parametrize('shape', [(1, 1, 2, 64, 40), (1, 1, 1, 64, 48), (1, 2, 2, 64, 48), (2, 1, 2, 64, 48)])
    def test_masks_that_do_not_fit(self, shape: tuple) -> None:
        message = 'a mask of the size of each. Got images [(1, 2, 3, 64, 48)] and masks'
        with pytest.raises(ValueError, match=re.escape(message)):
            segmentor().logits(self.images(1), self.images(1, 1, 2), torch.ones(shape))

    def test_support_sets_that_do_not_fit(self) -> None:
        model = segmentor()
        encoding = model.encode_support(self.images(2, 1, 1), self.masks(2, 1, 1))
        with pytest.raises(ValueError, match='2 support sets cannot serve 3 queries'):
            model.logits(self.images(3), encoding)
        with pytest.raises(ValueError, match='2 support sets were given for 1 queries'):
            model.logits(self.images(1), self.images(2, 1, 1), self.masks(2, 1, 1))

    @torch.no_grad()
    def test_masks_of_another_size_than_the_features(self) -> None:
        """The head takes the share of each cell's area, at any size of the mask."""
        head = build()
        mask = F.interpolate(some_masks(1, 1, (6, 8)), scale_factor=8, mode='nearest')
        for scale in (8, 24):
            larger = F.interpolate(some_masks(1, 1, (6, 8)), scale_factor=scale, mode='nearest')
            same_prototypes(head.encode_support(pyramid(1), larger), head.encode_support(pyramid(1), mask))

"""Few-shot ScaleProto in a segmentor: losses, errors, predictions, explanations."""
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mmfss.models import FewShotScaleProtoHead, FewShotSegmentor, MatchingHead
from mmfss.registry import EXPLAINERS, MODELS
from tests.references.seeded import seeded_image, seeded_mask
from tests.test_models.test_heads.test_few_shot_scaleproto_head import OPTIONS
from tests.tiny.colour_matching import BLUE, GREEN, RED, ColourSegmentor, episode_of, square
from tests.tiny.model import TINY_MODEL, build_tiny_model


def segmentor(**options: Any) -> FewShotSegmentor:
    build_tiny_model()  # registers
    torch.manual_seed(0)
    return MODELS.build({**TINY_MODEL, 'head': dict(type='FewShotScaleProtoHead', **{**OPTIONS, **options})})


class TestSegmentor:

    def test_several_ways(self) -> None:
        model = segmentor().eval()
        support = torch.from_numpy(seeded_image('support', (2, 3, 2, 3, 64, 48)))
        masks = torch.from_numpy(seeded_mask('masks', (2, 3, 2, 64, 48)))
        with torch.no_grad():
            logits = model.logits(torch.from_numpy(seeded_image('query', (2, 3, 64, 48))), support, masks)
        assert logits.shape == (2, 4, 64, 48) and logits.isfinite().all()

    def test_learns(self) -> None:
        """A few steps on one batch of planted colours."""
        model = segmentor(foreground_weight=2.)
        episodes = [episode_of(square(colour, box=box, seed=i), [square(colour, seed=9 + i)])
                    for i, (colour, box) in enumerate([(RED, (8, 8, 40, 40)), (GREEN, (16, 20, 52, 60))])]
        query, support, masks, target = (torch.stack([getattr(e, name) for e in episodes])
                                         for name in ('query', 'support', 'masks', 'target'))
        optimizer = torch.optim.AdamW(model.head.parameters(), lr=5e-3)
        losses = []
        for _ in range(12):
            pyramid_, encoding = model.encode(query, support, masks)
            logits, own = model.head.forward_train(pyramid_, encoding.ways[0], target)
            loss = sum({**model.head.loss(model.compose([logits], (64, 64)), target), **own}.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.6 * losses[0]


class TestExplained:
    """AffEx knows nothing of prototypes; where the truth is planted, it finds it."""

    @pytest.fixture(params=[False, True], ids=['pooled', 'snapped'])
    def colours(self, request: pytest.FixtureRequest) -> FewShotSegmentor:
        model = ColourSegmentor.build()
        torch.manual_seed(0)
        options = dict(prototypes_per_scale=(3, 3), num_groups=(3, 3), decoder_channels=0, sharpness=8.)
        model.head = FewShotScaleProtoHead(((3, ), (3, )), scale_channels=16, snap=request.param, **options).eval()
        return model

    @staticmethod
    def explain(model: FewShotSegmentor, episode: Any, variant: str = 'masked') -> Any:
        explainer = EXPLAINERS.build(dict(type=f'{variant}_affex', mask_blur_kernel_size=1))
        return explainer.explain(model, episode, 'ground_truth')

    def test_the_part_that_is_shown(self, colours: FewShotSegmentor) -> None:
        """The object is half red, half green; the query shows a green one."""
        image, mask = square(RED, box=(16, 16, 48, 48))
        green, _ = square(GREEN, box=(16, 16, 48, 48))
        image[:, :, 32:] = green[:, :, 32:]
        episode = episode_of(square(GREEN, box=(8, 24, 40, 56), seed=3), [(image, mask)])
        for variant in ('masked', 'signed', 'unmasked'):
            maps = self.explain(colours, episode, variant).attribution[0, 0]
            assert maps[16:48, 38:48].max() > 1.3 * maps[16:48, 16:26].max()
            if not colours.head.snap:
                assert maps[20:44, 36:46].mean() > 1.3 * maps[20:44, 18:28].mean()

    def test_the_support_that_shows_it(self, colours: FewShotSegmentor) -> None:
        supports = [square(RED, seed=1), square(BLUE, seed=2), square(GREEN, seed=3)]
        shots = self.explain(colours, episode_of(square(BLUE, box=(8, 24, 40, 56)), supports), 'masked').attribution[0]
        means = (shots * supports[0][1]).sum((1, 2))
        assert means.argmax() == 1 and means[1] > 1.5 * means[[0, 2]].max()

    def test_prediction_and_reading(self, colours: FewShotSegmentor) -> None:
        episode = episode_of(square(GREEN, box=(8, 24, 40, 56), seed=3), [square(GREEN, seed=4)])
        with torch.no_grad():
            pyramid_, encoding = colours.encode(episode.query[None], episode.support[None], episode.masks[None])
            reading = colours.head.read(pyramid_, encoding.ways[0])
            predicted = colours.match(pyramid_, encoding, (64, 64))[0].argmax(0)
        union = ((predicted == 1) | (episode.target == 1)).sum()
        assert ((predicted == 1) & (episode.target == 1)).sum() > 0.7 * union
        region = F.adaptive_avg_pool2d(episode.target[None, None].float(), reading.odds.shape[-2:])[:, 0]
        support = reading.support_maps(region)[0, :, 0]
        inside = F.adaptive_avg_pool2d(episode.masks[0], support.shape[-2:])[0] > 0
        # The object is explained by the object: foreground prototypes say more, and what they say comes from the mask.
        assert support[0].sum() > 2 * support[1].sum() and not support[0][~inside].any()

    def test_streamed_equals_the_definition(self, colours: FewShotSegmentor) -> None:
        """The vote through prototypes against the plain matrix, inside the explainer."""
        episode = episode_of(square(GREEN, (48, 64), seed=3), [square(GREEN, (48, 64), seed=4), square(RED, (48, 64))])
        ours = self.explain(colours, episode, 'unmasked')
        head = colours.head
        with torch.no_grad():
            pyramid_, encoding = colours.encode(episode.query[None], episode.support[None], episode.masks[None])
            affinities = list(head.match(pyramid_, encoding.ways[0]))
            evidence = [head.aggregate(x, encoding.ways[0]) for x in affinities]
            effects = MatchingHead.layer_effects(head, evidence, pyramid_, encoding.ways[0], episode.target[None] == 1)
        torch.testing.assert_close(ours.contributions.effects, effects)
        for affinity, shares in zip(affinities, ours.contributions.shares):
            matrix = affinity.dense()[0].softmax(-1).double().T.view(-1, 1, *affinity.query_size)
            resized = F.interpolate(matrix, (48, 64), mode='bilinear', align_corners=False, antialias=True)[:, 0]
            region = episode.target == 1
            expected = (resized / (resized.sum((1, 2), keepdim=True) + 1e-6))[:, region].mean(1)
            torch.testing.assert_close(shares.flatten().double(), expected, rtol=1e-3, atol=1e-7)

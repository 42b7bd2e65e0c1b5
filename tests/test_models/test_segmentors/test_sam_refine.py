"""Refinement of any head's masks by SAM; the query image is encoded once."""
from typing import Any

import pytest
import torch
from torch import Tensor

from mmfss.evaluation import PerturbedEpisode
from mmfss.models import FeaturePyramid, FewShotSegmentor
from mmfss.models.segmentors import SAMRefine
from mmfss.registry import EXPLAINERS, MODELS
from tests.tiny.episode import draw_episode
from tests.tiny.model import TINY_MODEL, build_tiny_model
from tests.tiny.sam import TINY, build_sam


def logits_of(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (40, 48)) -> Tensor:
    """(1, N+1, H, W): 2 against 0 inside of each class's box (top, left, bottom, right), 0 against 1 outside."""
    logits = torch.zeros(1, len(boxes) + 1, *size)
    logits[:, 0] = 1
    for number, (top, left, bottom, right) in enumerate(boxes, start=1):
        logits[:, number, top:bottom, left:right] = 2
        logits[:, 0, top:bottom, left:right] = 0
    return logits


def query(batch: int = 1) -> FeaturePyramid:
    return FeaturePyramid(((torch.zeros(batch, 1, 2, 2), ), ), torch.zeros(batch, 3, 40, 48))


def refine(grow: int, **options: Any) -> SAMRefine:
    return MODELS.build(dict(type='SAMRefine', sam=dict(type='DiscSAM', grow=grow), **options))


class TestAcceptance:

    def test_accepted(self) -> None:
        logits = logits_of((10, 10, 30, 30))
        refined = refine(grow=2)(logits, query())
        assert torch.equal(refined.argmax(1), logits_of((8, 8, 32, 32)).argmax(1))
        assert refined[0, 1, 9, 9] == 1 and refined[0, 1, 20, 20] == 2  # the sizes of the margins stay

    def test_too_different(self) -> None:
        """20 x 20 of 40 x 40 pixels are less than a half."""
        logits = logits_of((10, 10, 30, 30))
        assert torch.equal(refine(grow=10)(logits, query()), logits)
        assert not torch.equal(refine(grow=10, min_iou=0.2)(logits, query()), logits)

    @pytest.mark.parametrize('grow', [4, 5])
    def test_limit_is_included(self, grow: int) -> None:
        """20 x 20 of 28 x 28 is an IoU of 0.51, of 30 x 30 one of 0.44."""
        logits = logits_of((10, 10, 30, 30))
        changed = not torch.equal(refine(grow=grow)(logits, query()), logits)
        assert changed == (400 / (20 + 2 * grow)**2 >= 0.5)

    def test_nothing_to_refine(self) -> None:
        logits = logits_of((0, 0, 0, 0))
        assert torch.equal(refine(grow=2)(logits, query()), logits)

    def test_out_of_range(self) -> None:
        with pytest.raises(ValueError, match='refine.min_iou must be between 0 and 1, got 2'):
            refine(grow=0, min_iou=2)


def test_ways_and_batches() -> None:
    logits = torch.cat((logits_of((4, 4, 16, 16), (20, 20, 36, 40)), logits_of((4, 4, 16, 16), (0, 0, 0, 0))))
    refined = refine(grow=1)(logits, query(2)).argmax(1)
    assert torch.equal(refined[0], logits_of((3, 3, 17, 17), (19, 19, 37, 41)).argmax(1)[0])
    assert torch.equal(refined[1], logits_of((3, 3, 17, 17), (0, 0, 0, 0)).argmax(1)[0])


class TestSegmentor:

    @pytest.fixture
    def model(self) -> FewShotSegmentor:
        plain = build_tiny_model()
        model = MODELS.build({**TINY_MODEL, 'refine': dict(type='SAMRefine', sam=dict(type='DiscSAM', grow=3))})
        model.load_state_dict(plain.state_dict())
        return model.eval()

    def test_refines_what_the_head_predicts(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(2, 2)
        inputs = episode.query[None], episode.support[None], episode.masks[None]
        with torch.no_grad():
            coarse = build_tiny_model().logits(*inputs)
            assert torch.equal(model.logits(*inputs), model.refine(coarse, query_of(episode.query)))

    def test_encodes_the_image_once(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(2, 1)
        states = episode.masks.expand(5, -1, -1, -1, -1).clone()
        for number, state in enumerate(states):
            state[..., :10 + 4 * number, :] = 0
        PerturbedEpisode(model, episode).logits(episode.support.expand(5, *episode.support.shape), states)
        assert model.refine.sam.embedded == 1

    def test_affex_explains_the_refined_region(self, model: FewShotSegmentor) -> None:
        episode = draw_episode(1, 1)
        explainer = EXPLAINERS.build(dict(type='signed_affex'))
        region = explainer.contributions(model, episode, 'prediction').region
        with torch.no_grad():
            labels = model.logits(episode.query[None], episode.support[None], episode.masks[None]).argmax(1)
        assert torch.equal(region, labels == 1)

    def test_real_architecture(self) -> None:
        build_sam()  # skips without the package
        config = dict(type='SAMRefine', sam=dict(arch=TINY), min_iou=0.)
        model = MODELS.build({**TINY_MODEL, 'refine': config}).eval()
        episode = draw_episode(1, 1)
        with torch.no_grad():
            logits = model.logits(episode.query[None], episode.support[None], episode.masks[None])
        assert logits.shape == (1, 2, 48, 64) and logits.isfinite().all()
        assert not any(name.startswith('refine') for name, x in model.named_parameters() if x.requires_grad)


def query_of(image: Tensor) -> FeaturePyramid:
    return FeaturePyramid(((image[None], ), ), image[None])

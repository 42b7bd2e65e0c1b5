import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData

from mmfss.evaluation.controls import CopiedMask, PrototypeMatching
from mmfss.models import FewShotSegmentor
from mmfss.structures import EpisodeDataSample
from tests.references.seeded import seeded_image, seeded_mask
from tests.tiny.model import build_tiny_model


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build_tiny_model()


def tensors(batch_size: int = 2, ways: int = 1, shots: int = 1) -> tuple[torch.Tensor, ...]:
    lead = (batch_size, ways, shots)
    return (torch.from_numpy(seeded_image('query', (batch_size, 3, 64, 64))),
            torch.from_numpy(seeded_image('support', (*lead, 3, 64, 64))),
            torch.from_numpy(seeded_mask('mask', (*lead, 64, 64))))


class TestCopiedMask:

    def test_one_shot_is_the_mask(self, model: FewShotSegmentor) -> None:
        query, support, masks = tensors()
        assert torch.equal(CopiedMask(model).logits(query, support, masks).argmax(1), masks[:, 0, 0].long())

    def test_more_than_half_of_the_shots(self, model: FewShotSegmentor) -> None:
        query, support, masks = tensors(shots=4)
        prediction = CopiedMask(model).logits(query, support, masks).argmax(1)
        assert torch.equal(prediction, (masks[:, 0].sum(1) > 2).long())

    def test_two_ways(self, model: FewShotSegmentor) -> None:
        query, support, masks = tensors(ways=2)
        prediction = CopiedMask(model).logits(query, support, masks).argmax(1)
        only_second = (masks[:, 1, 0] == 1) & (masks[:, 0, 0] == 0)
        assert (prediction[only_second] == 2).all() and (prediction[masks[:, 0, 0] == 1] == 1).all()
        assert (prediction[masks.sum((1, 2)) == 0] == 0).all()


class TestPrototypeMatching:

    @pytest.mark.parametrize('shots', [1, 3])
    @pytest.mark.parametrize('level', [-2, -1])
    def test_equals_a_literal_computation(self, model: FewShotSegmentor, shots: int, level: int) -> None:
        query, support, masks = tensors(shots=shots)
        logits = PrototypeMatching(model, level).logits(query, support, masks)
        assert logits.shape == (2, 2, 64, 64)
        for b in range(2):
            with torch.no_grad():
                q = model.extract_feat(query[b:b + 1])[level][-1][0]
                s = model.extract_feat(support[b, 0])[level][-1]
            size = q.shape[-2:]
            soft = masks[b, 0].unflatten(1, (size[0], -1)).unflatten(3, (size[1], -1)).mean((2, 4))
            maps = []
            for weight in (1 - soft, soft):
                prototype = torch.stack([(weight[k] * s[k]).sum((1, 2)) for k in range(shots)]).sum(0) / weight.sum()
                maps.append(F.cosine_similarity(q, prototype[:, None, None], dim=0))
            expected = F.interpolate(20 * torch.stack(maps)[None], (64, 64), mode='bilinear', align_corners=True)[0]
            torch.testing.assert_close(logits[b], expected, atol=1e-4, rtol=1e-5)

    def test_a_model_of_one_level(self, model: FewShotSegmentor) -> None:
        query, support, masks = tensors()
        single = build_tiny_model()
        single.feature_reader.num_levels = 1
        logits = PrototypeMatching(single).logits(query, support, masks)
        torch.testing.assert_close(logits, PrototypeMatching(model, level=-1).logits(query, support, masks))

    def test_finds_its_own_support(self, model: FewShotSegmentor) -> None:
        # A bright square on noise: matching an image with itself must find the square.
        image = 0.1 * torch.from_numpy(seeded_image('noise', (1, 3, 128, 128)))
        mask = torch.zeros(1, 1, 1, 128, 128)
        mask[..., 32:96, 32:96] = 1
        image[:, :, 32:96, 32:96] += 2
        prediction = PrototypeMatching(model, level=1).logits(image, image[:, None, None], mask).argmax(1).bool()
        square = mask[:, 0, 0].bool()
        assert (prediction & square).sum() / (prediction | square).sum() > 0.5

    def test_empty_mask_is_finite(self, model: FewShotSegmentor) -> None:
        query, support, masks = tensors()
        assert PrototypeMatching(model).logits(query, support, torch.zeros_like(masks)).isfinite().all()


class TestAsTestLoopModel:

    @pytest.mark.parametrize('control', [CopiedMask, PrototypeMatching])
    def test_step(self, model: FewShotSegmentor, control: type) -> None:
        sample = EpisodeDataSample(metainfo=dict(class_ids=[0]))
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, 64, 64, dtype=torch.long))
        sample.support_sem_seg = torch.from_numpy(seeded_mask('mask', (1, 2, 64, 64))).to(torch.uint8)
        sample.support_sem_seg[0, 0, :4] = 255
        images = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)
        query, support = torch.from_numpy(images[0]), torch.from_numpy(images[None, 1:])
        wrapped = control(model)
        wrapped.eval()
        result, = wrapped.test_step(dict(inputs=dict(query=[query], support=[support]), data_samples=[sample]))
        assert result.pred_sem_seg.data.shape == (1, 64, 64) and result.seg_logits.data.shape == (2, 64, 64)
        assert result.pred_sem_seg.data.max() == 1
        normalized = model.data_preprocessor.normalize(torch.stack([query]))
        masks = (sample.support_sem_seg[None] == 1).float()
        expected = wrapped.logits(normalized, model.data_preprocessor.normalize(support[None]), masks)
        torch.testing.assert_close(result.seg_logits.data, expected[0])

    def test_only_predicts(self, model: FewShotSegmentor) -> None:
        with pytest.raises(ValueError, match="mode='loss'"):
            CopiedMask(model)({}, [], mode='loss')

"""Segment Anything, with the real architecture and drawn weights, equals the package's own predictor."""
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmfss.models.backbones import SegmentAnything
from tests.references.gfsam import golden
from tests.references.seeded import seeded_image
from tests.tiny.sam import TINY, build_sam

IMAGENET = [torch.tensor(x).view(3, 1, 1) for x in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))]


@pytest.fixture(scope='module')
def sam() -> nn.Module:
    return build_sam()


@pytest.fixture(scope='module')
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)


def normalized(pixels: np.ndarray) -> Tensor:
    mean, std = IMAGENET
    return ((torch.from_numpy(pixels).permute(2, 0, 1).float() - mean) / std)[None]


@pytest.fixture(scope='module')
def embedding(sam: nn.Module, pixels: np.ndarray) -> Tensor:
    return sam.embed(normalized(pixels))


def test_equals_the_predictor(sam: nn.Module, pixels: np.ndarray, embedding: Tensor) -> None:
    from segment_anything import SamPredictor
    from segment_anything.modeling import Sam
    predictor = SamPredictor(Sam(sam.image_encoder, sam.prompt_encoder, sam.mask_decoder))
    predictor.set_image(pixels)
    torch.testing.assert_close(embedding, predictor.features, rtol=0, atol=1e-4)

    points = torch.tensor([[100, 200], [1000, 30], [512, 700]])
    labels = torch.ones(3, 1)
    logits, _, _ = predictor.predict_torch(points[:, None].float(), labels, multimask_output=False, return_logits=True)
    ours = sam.decode(embedding, (1024, 1024), points=(points[:, None].float(), labels))
    torch.testing.assert_close(ours, logits, rtol=0, atol=1e-3)
    masks = torch.cat(list(sam.masks_of_points(embedding, points, (1024, 1024), batch_size=2)))
    clear = logits[:, 0].abs() > 2e-3
    assert torch.equal(masks[clear], logits[:, 0][clear] > 0)


def test_refinement_takes_box_and_mask(sam: nn.Module, embedding: Tensor) -> None:
    logits = torch.full((1024, 1024), -3.)
    logits[200:600, 300:700] = 2.
    prompts = {}
    decode = sam.decode

    def watch(embedding: Tensor, size: tuple, **given: Tensor) -> Tensor:
        prompts.update(given)
        return decode(embedding, size, **given)

    sam.decode = watch
    refined = sam.refine(embedding, logits, logits > 0)
    del sam.decode
    assert refined.shape == (1024, 1024) and refined.dtype == torch.bool
    assert prompts['boxes'].tolist() == [[300, 200, 700, 600]]
    assert prompts['masks'].shape == (1, 1, 256, 256)
    assert prompts['masks'][0, 0, 60:140, 80:170].min() == 2 and prompts['masks'][0, 0, :40].max() == -3


def test_images_of_other_sizes(sam: nn.Module) -> None:
    """The longer side becomes 1024; prompts are scaled, the prompt of a mask is padded with its lowest logit."""
    embedding = sam.embed(torch.randn(1, 3, 60, 120))
    assert embedding.shape == (1, 256, 64, 64)
    masks, = sam.masks_of_points(embedding, torch.tensor([[119, 59]]), (60, 120))
    assert masks.shape == (1, 60, 120)
    assert sam._scaled(torch.tensor([[60., 30.]]), (60, 120)).tolist() == [[512, 256]]
    logits = torch.full((60, 120), -1.)
    logits[20:40, 20:40] = 1
    assert sam.refine(embedding, logits, logits > 0).shape == (60, 120)


def test_pixels_are_truncated(sam: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the picture handed to SAM in the reference numbers."""
    expected, given = golden('images'), []
    images = (0.5 + 0.25 * torch.from_numpy(seeded_image('images', (2, 3, 1024, 1024), 1))).clamp(0, 1)
    whole = (255 * images[0]).byte()
    np.testing.assert_array_equal(whole[:, ::32, ::32].permute(1, 2, 0), expected['sam_uint8'])
    np.testing.assert_array_equal(whole.long().sum((1, 2)), expected['sam_uint8_sum'])
    monkeypatch.setattr(sam.image_encoder, 'forward', lambda x: given.append(x))
    mean, std = IMAGENET
    sam.embed(((whole.float() - mean) / std)[None])
    torch.testing.assert_close(given[0][0] * std + mean, whole.float(), rtol=0, atol=1e-3)


def test_is_frozen(sam: nn.Module) -> None:
    nn.Sequential(sam).train()
    assert not any(module.training for module in sam.modules())
    assert not any(parameter.requires_grad for parameter in sam.parameters())


def test_names_of_the_published_files(sam: nn.Module) -> None:
    parts = {name.split('.')[0] for name in sam.state_dict()}
    assert parts == {'image_encoder', 'prompt_encoder', 'mask_decoder'}


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'segment_anything', None)
    monkeypatch.setitem(sys.modules, 'segment_anything.modeling', None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "mmfss\[sam\]"'):
        SegmentAnything(TINY)


def test_unknown_architecture() -> None:
    with pytest.raises(ValueError, match="vit_b, vit_l, vit_h.*got 'vit_x'"):
        SegmentAnything('vit_x')

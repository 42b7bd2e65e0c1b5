import numpy as np
import pytest
import torch

from mmfss.apis.drawn_masks import drawn_box, drawn_pixels, drawn_points, mask_at_points, mask_in_box
from tests.tiny.app import RED, picture
from tests.tiny.sam import build_sam


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize('width', [316, 640])
def test_drawing_is_mapped_to_the_picture(width: int) -> None:
    """At the width of a phone's page and of a desktop's."""
    size = 480, 640
    drawing = np.zeros((round(width * 0.75), width, 4), np.uint8)
    scale = width / 640
    drawing[round(100 * scale):round(300 * scale), round(200 * scale):round(400 * scale), 3] = 255
    pixels = drawn_pixels(drawing, size)
    expected = np.zeros(size, bool)
    expected[100:300, 200:400] = True
    assert pixels.shape == size and iou(pixels, expected) > 0.97
    assert np.abs(np.subtract(drawn_box(pixels), (200, 100, 400, 300))).max() <= 2


def test_points_are_centres_of_dots() -> None:
    pixels = np.zeros((50, 60), bool)
    pixels[8:13, 18:23] = pixels[30:35, 40:45] = True
    assert drawn_points(pixels) == [(20, 10), (42, 32)]
    assert drawn_points(np.zeros((5, 5), bool)) == [] and drawn_box(np.zeros((5, 5), bool)) is None


def test_box_and_points_find_the_object() -> None:
    image, mask = picture(RED, (60, 40, 150, 120), (200, 240))
    assert iou(mask_in_box(image, (45, 25, 170, 140)), mask == 1) > 0.9
    assert iou(mask_at_points(image, [(100, 80)]), mask == 1) > 0.9
    again = mask_in_box(image, (45, 25, 170, 140))
    assert np.array_equal(again, mask_in_box(image, (45, 25, 170, 140)))


def test_sam_makes_masks_of_prompts() -> None:
    """What SAM is asked: the picture, upright and unchanged, and prompts at its own scale."""
    sam = build_sam(mean=(1., 2., 3.), std=(4., 5., 6.))
    image, _ = picture(RED, (60, 40, 150, 120), (200, 240))
    asked = []
    sam.prompt_encoder.register_forward_pre_hook(lambda module, args, options: asked.append(options), with_kwargs=True)
    seen = []
    sam.image_encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    box, points = mask_in_box(image, (45, 25, 170, 140), sam), mask_at_points(image, [(100, 80)], [(5, 6)], sam)
    assert box.shape == points.shape == (200, 240) and box.dtype == points.dtype == bool
    scale = 1024 / 240
    torch.testing.assert_close(asked[0]['boxes'], torch.tensor([[45., 25., 170., 140.]]) * scale, atol=1., rtol=0.)
    pixels, labels = asked[1]['points']
    torch.testing.assert_close(pixels, torch.tensor([[[100., 80.], [5., 6.]]]) * scale, atol=1., rtol=0.)
    assert labels.tolist() == [[1., 0.]] and asked[1]['boxes'] is None
    corner = seen[0][0, :, 0, 0] * sam.own_std[:, 0, 0] + sam.own_mean[:, 0, 0]
    torch.testing.assert_close(corner, torch.from_numpy(image[0, 0]).float(), atol=1., rtol=0.)
    with pytest.raises(ValueError, match='a box, or a point'):
        sam.segment(torch.zeros(1, 256, 64, 64), (20, 20))


def test_what_cannot_be_separated() -> None:
    flat = np.full((40, 40, 3), 99, np.uint8)
    assert mask_in_box(flat, (0, 0, 40, 40)).all()
    assert mask_in_box(flat, (5, 5, 20, 20)).any()
    with pytest.raises(ValueError, match='has no pixel in the picture of 40 x 40'):
        mask_in_box(flat, (30, 5, 20, 20))
    with pytest.raises(ValueError, match=r'The point \(50, 3\) lies outside'):
        mask_at_points(flat, [(50, 3)])
    with pytest.raises(ValueError, match='one point'):
        mask_at_points(flat, [])

import pytest
import torch

from mmfss.explainers.mask_weights import blur, dilate


def test_blur_of_a_point_is_the_kernel() -> None:
    maps = torch.zeros(1, 2, 9, 11, dtype=torch.float64)
    maps[0, 1, 4, 5] = 1
    line = torch.exp(-0.5 * (torch.arange(-2, 3, dtype=torch.float64) / 1.5)**2)
    line = line / line.sum()
    blurred = blur(maps, 5, 1.5)
    torch.testing.assert_close(blurred[0, 1, 2:7, 3:8], torch.outer(line, line))
    assert blurred[0, 0].abs().max() == 0 and blurred[0, 1, :2].abs().max() == 0


def test_blur_keeps_constants_and_reflects() -> None:
    torch.testing.assert_close(blur(torch.full((1, 1, 8, 8), 0.7), 7, 50.), torch.full((1, 1, 8, 8), 0.7))
    # A ramp of rows, reflected at the border without repeating it: the first row is the mean of rows 1, 0, 1.
    ramp = torch.arange(6.).view(1, 1, 6, 1).expand(1, 1, 6, 6)
    assert blur(ramp, 3, 1e6)[0, 0, 0, 3].item() == pytest.approx(2 / 3, abs=1e-5)


def test_no_blur() -> None:
    maps = torch.rand(1, 1, 4, 4)
    assert blur(maps, 1, 50.) is maps


def test_blur_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match='4 x 20 pixels are too small for mask_blur_kernel_size=9: at most 7'):
        blur(torch.zeros(1, 1, 4, 20), 9, 50.)
    assert blur(torch.ones(1, 1, 4, 20), 7, 50.).shape == (1, 1, 4, 20)


@pytest.mark.parametrize(('radius', 'kernel', 'side'), [(0, 3, 1), (1, 3, 3), (2, 3, 5), (2, 5, 9)])
def test_dilation_of_a_point_is_a_square(radius: int, kernel: int, side: int) -> None:
    masks = torch.zeros(1, 1, 15, 15)
    masks[0, 0, 7, 7] = 1
    expected = torch.zeros(15, 15)
    expected[7 - side // 2:8 + side // 2, 7 - side // 2:8 + side // 2] = 1
    assert torch.equal(dilate(masks, radius, kernel)[0, 0], expected)

import pytest
import torch
import torch.nn.functional as F

from mmfss.models.layers import resize_adjoint, resize_unaligned


@pytest.mark.parametrize('antialias', [True, False])
@pytest.mark.parametrize(('size', 'pixels'), [((4, 6), (32, 48)), ((12, 9), (5, 5)), ((7, 7), (7, 7)),
                                              ((3, 20), (9, 8))])
def test_adjoint(size: tuple, pixels: tuple, antialias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    images = torch.randn(2, 3, *pixels, generator=generator, dtype=torch.float64)
    enlarged = F.interpolate(maps, pixels, mode='bilinear', align_corners=False, antialias=antialias)
    torch.testing.assert_close(resize_unaligned(maps, pixels, antialias), enlarged, rtol=0, atol=1e-12)
    with torch.no_grad():
        adjoint = resize_adjoint(images, size, antialias)
    assert adjoint.shape == maps.shape and not adjoint.requires_grad
    torch.testing.assert_close((adjoint * maps).sum(), (enlarged * images).sum())


def test_aligned_adjoint() -> None:
    maps, images = torch.randn(2, 3, 5, 7, dtype=torch.float64), torch.randn(2, 3, 12, 9, dtype=torch.float64)
    enlarged = F.interpolate(maps, (12, 9), mode='bilinear', align_corners=True)
    adjoint = resize_adjoint(images, (5, 7), align_corners=True)
    torch.testing.assert_close((adjoint * maps).sum(), (enlarged * images).sum())


def test_adjoint_in_inference_mode() -> None:
    images = torch.randn(2, 3, 12, 9)
    with torch.inference_mode():
        adjoint = resize_adjoint(images.clone(), (5, 7))
    assert torch.equal(adjoint, resize_adjoint(images, (5, 7)))

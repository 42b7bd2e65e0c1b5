import pytest
import torch
import torch.nn.functional as F

from mmfss.models.layers import conv_resized, resize_aligned


@pytest.mark.parametrize(('before', 'after'), [((6, 5), (12, 10)), ((3, 4), (13, 9)), ((1, 1), (4, 3)),
                                               ((6, 5), (7, 6)), ((4, 4), (4, 4))])
@pytest.mark.parametrize('channels_last', [False, True])
def test_equals_convolving_the_enlarged_map(before: tuple, after: tuple, channels_last: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, *before, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    weight = torch.randn(5, 8, 3, 3, dtype=torch.float64)
    expected = F.conv2d(resize_aligned(x, after), weight, padding=1)
    with torch.no_grad():
        torch.testing.assert_close(conv_resized(x, weight, after), expected, rtol=0, atol=1e-12)
    assert torch.equal(conv_resized(x, weight, after), expected), 'with gradients'

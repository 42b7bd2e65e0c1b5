import pytest
import torch

from mmfss.explainers.scaling import get_scaling, min_max, quantile, scale_q


class TestMinMax:

    def test_all_shots_of_a_class_share_one_scale(self) -> None:
        x = torch.tensor([[[1., 2.], [3., 5.]], [[0., 10.], [0., 0.]]])[:, :, None]
        expected = torch.tensor([[[0., .25], [.5, 1.]], [[0., 1.], [0., 0.]]])[:, :, None]
        assert torch.equal(min_max(x), expected)

    @pytest.mark.parametrize('scale', [min_max, scale_q])
    @pytest.mark.parametrize('value', [0., -3., 7.])
    def test_constant_map_becomes_zero(self, scale, value: float) -> None:
        assert torch.equal(scale(torch.full((2, 1, 3, 4), value)), torch.zeros(2, 1, 3, 4))


class TestScaleQ:

    def test_above_the_quantile_is_one(self) -> None:
        x = torch.arange(101.).view(1, 1, 1, 101)
        assert torch.allclose(scale_q(x), (x / 99).clamp(max=1))
        assert scale_q(x, q=0.5)[..., 25] == 0.5

    def test_sparse_map_keeps_its_peak(self) -> None:
        x = torch.zeros(1, 1, 20, 20)
        x[..., 3, 4] = 2
        assert torch.equal(scale_q(x), x / 2)

    @pytest.mark.parametrize('q', [0., 0.3, 0.99, 1.])
    def test_quantile_is_torch_quantile(self, q: float) -> None:
        x = torch.randn(3, 257, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(quantile(x, q), torch.quantile(x, q, dim=1), atol=1e-6)


def test_scaling_by_name() -> None:
    x = torch.tensor([[-1., 3.]])
    assert get_scaling(None)(x) is x
    assert get_scaling('min_max') is min_max
    with pytest.raises(ValueError, match='"minmax".*min_max, scale_q'):
        get_scaling('minmax')

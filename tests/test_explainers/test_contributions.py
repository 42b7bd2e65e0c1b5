import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.explainers.contributions import RegionWeights, layer_weights, region_shares
from mmfss.models.affinities import Affinity


class Table(Affinity):
    """An affinity that holds its scores."""

    def __init__(self, scores: Tensor, query_size: tuple[int, int], support_size: tuple[int, int, int]) -> None:
        super().__init__(query_size, support_size)
        self.table = scores

    def scores(self, start: int, stop: int) -> Tensor:
        return self.table[:, start:stop]


def test_attention_of_any_scores() -> None:
    torch.manual_seed(0)
    table = Table(torch.randn(2, 300, 24), (15, 20), (2, 3, 4))
    values = torch.randn(2, 24, 3)
    torch.testing.assert_close(table.attend(values), table.dense().softmax(-1) @ values)


class TestShares:

    def test_by_hand(self) -> None:
        # Two query pixels, the first is the region; three support pixels: votes 1/4, 1/4, 1/2 and 0, 1/2, 1/2.
        scores = torch.tensor([[[1., 1., 2.], [0., 1., 1.]]]).log()
        weights = RegionWeights(torch.tensor([[[True, False]]]), torch.float64)
        shares = region_shares(Table(scores.double(), (1, 2), (1, 1, 3)), weights, True, 256)
        expected = torch.tensor([[[[1., 1 / 3, 1 / 2]]]], dtype=torch.float64)
        torch.testing.assert_close(shares, expected, rtol=0, atol=1e-5)

    def test_raw_scores(self) -> None:
        scores = torch.tensor([[[1., 1., 2.], [0., 1., 6.]]], dtype=torch.float64)
        weights = RegionWeights(torch.tensor([[[True, False]]]), torch.float64)
        shares = region_shares(Table(scores, (1, 2), (3, 1, 1)), weights, False, 256)
        torch.testing.assert_close(shares.flatten(), torch.tensor([1., 0.5, 0.25], dtype=torch.float64), rtol=0,
                                   atol=1e-5)

    @pytest.mark.parametrize('pixels', [(12, 20), (6, 10), (3, 4)])
    def test_definition_at_any_size(self, pixels: tuple[int, int]) -> None:
        torch.manual_seed(1)
        scores = 3 * torch.randn(2, 60, 24, dtype=torch.float64)
        region = torch.rand(2, *pixels) > 0.5
        columns = scores.softmax(-1).transpose(1, 2).unflatten(2, (6, 10))
        maps = F.interpolate(columns, pixels, mode='bilinear', align_corners=False, antialias=True)
        maps = maps / (maps.sum((2, 3), keepdim=True) + 1e-6)
        expected = torch.stack([x[:, mask].mean(1) for x, mask in zip(maps, region)]).view(2, 2, 3, 4)
        weights = RegionWeights(region, torch.float64)
        shares = region_shares(Table(scores, (6, 10), (2, 3, 4)), weights, True, 7)
        torch.testing.assert_close(shares, expected, rtol=1e-9, atol=1e-12)


class TestLayerWeights:
    effects = torch.tensor([[1., 2., 3., 4.]])
    sizes = ((8, 8), (8, 8), (4, 4), (2, 2))

    def test_each_layer_has_its_own(self) -> None:
        torch.testing.assert_close(layer_weights(self.effects, self.sizes, 'aligned'), self.effects / 10)

    def test_coarsest_first(self) -> None:
        expected = torch.tensor([[4., 3., 1., 2.]]) / 10
        torch.testing.assert_close(layer_weights(self.effects, self.sizes, 'reference'), expected)
        # A head that lists coarse layers first has nothing to confuse.
        torch.testing.assert_close(layer_weights(expected, self.sizes[::-1], 'reference'), expected)

    def test_no_effect_at_all(self) -> None:
        weights = layer_weights(torch.tensor([[0., 0.], [1., 3.]]), self.sizes[:2], 'aligned')
        assert weights.tolist() == [[0.5, 0.5], [0.25, 0.75]]

"""The nearest support position, streamed."""
import pytest
import torch
from torch import Tensor

from mmfss.models.affinities import CosineAffinity, DotProductAffinity, TemperedAffinity
from tests.tiny.largest_tensor import LargestTensor


def draw(num_query: int, num_support: int, batch: int = 2, width: int = 5) -> tuple[Tensor, Tensor]:
    """All entries but one are 1 or -1: of width 5 the norm is 2, every product is exact, and many scores are equal."""
    generator = torch.Generator().manual_seed(0)

    def vectors(number: int) -> Tensor:
        signs = 2. * torch.randint(2, (batch, number, width), generator=generator) - 1
        return signs.scatter(-1, torch.randint(width, (batch, number, 1), generator=generator), 0.)

    return vectors(num_query), vectors(num_support)


@pytest.mark.parametrize('chunk_size', [1, 7, 1000])
@pytest.mark.parametrize(('groups', 'support_size'), [(1, (1, 4, 5)), (3, (3, 4, 5)), (1, (3, 4, 5))])
def test_equals_the_dense_argmax_and_takes_the_first(groups: int, support_size: tuple, chunk_size: int) -> None:
    query, key = draw(30, support_size[0] * 20)
    for affinity in (CosineAffinity(query, key, (5, 6), support_size),
                     DotProductAffinity(query, key, 1, (5, 6), support_size)):
        nearest = affinity.nearest(groups, chunk_size)
        scores = affinity.dense().unflatten(-1, (groups, -1))
        assert nearest.shape == (2, 30, groups)
        best = scores.amax(-1, keepdim=True)
        assert ((scores == best).sum(-1) > 1).any()  # there are ties
        first = (scores == best).float().cumsum(-1).eq(0).sum(-1)
        assert torch.equal(nearest, first)


def test_part_of_the_query(groups: int = 2) -> None:
    query, key = draw(30, 40)
    affinity = CosineAffinity(query, key, (5, 6), (2, 4, 5))
    rows = torch.tensor([3, 17, 29])
    assert torch.equal(affinity.part(1, rows).nearest(groups)[0], affinity.nearest(groups)[1, rows])


def test_memory_is_linear() -> None:
    query, key = draw(2000, 2000, batch=1)
    affinity = CosineAffinity(query, key, (40, 50), (1, 40, 50))
    with LargestTensor() as watched:
        affinity.nearest(chunk_size=10)
    assert watched.largest <= 10 * 2000


@pytest.mark.parametrize('groups', [0, 3])
def test_unequal_groups(groups: int) -> None:
    query, key = draw(4, 20)
    with pytest.raises(ValueError, match=f'20 support positions cannot be cut into {groups} equal groups'):
        CosineAffinity(query, key, (2, 2), (1, 4, 5)).nearest(groups)


def test_autocast_changes_no_cosine() -> None:
    query, key = (torch.nn.functional.normalize(torch.randn(1, n, 64), dim=-1) for n in (50, 60))
    affinity = CosineAffinity(query, key, (5, 10), (1, 6, 10))
    expected = affinity.dense()
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(affinity.dense(), expected)


class TestTemperature:

    def test_divides_the_scores(self) -> None:
        query, key = draw(6, 20)
        affinity = CosineAffinity(query, key, (2, 3), (1, 4, 5))
        tempered = TemperedAffinity(affinity, 0.1)
        torch.testing.assert_close(tempered.dense(), affinity.dense() / 0.1)
        weights = torch.rand(2, 6, 2)
        expected = (affinity.dense() / 0.1).softmax(-1).transpose(1, 2) @ weights
        torch.testing.assert_close(tempered.vote(weights), expected)

    def test_must_be_above_zero(self) -> None:
        query, key = draw(6, 20)
        with pytest.raises(ValueError, match='temperature must be above 0, got 0'):
            TemperedAffinity(CosineAffinity(query, key, (2, 3), (1, 4, 5)), 0)

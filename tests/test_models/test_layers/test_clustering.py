"""K-means without chance, against a literal one, and where there is little to cluster."""
import itertools

import pytest
import torch
from torch import Tensor

from mmfss.models.layers.clustering import kmeans, pairwise_distances
from tests.references.clustering import literal_kmeans


def draw(batch: int, num: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.rand(batch, num, width, generator=generator, dtype=torch.float64)
    weights = torch.rand(batch, num, generator=generator, dtype=torch.float64)
    return cells, weights * (weights > 0.3)


@pytest.mark.parametrize(('num_clusters', 'num_iterations'), [(1, 3), (3, 0), (4, 1), (5, 10)])
def test_equals_the_definition(num_clusters: int, num_iterations: int) -> None:
    cells, weights = draw(3, 40, 4)
    centres, exists = kmeans(cells, weights, num_clusters, num_iterations)
    for episode in range(3):
        expected, there = literal_kmeans(cells[episode], weights[episode], num_clusters, num_iterations)
        torch.testing.assert_close(centres[episode], expected, rtol=0, atol=1e-9)
        assert exists[episode].tolist() == there


def test_finds_what_is_apart() -> None:
    """Three heaps of different size: their means."""
    means = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]])
    noise = 0.02 * torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    heaps = torch.tensor([0] * 40 + [1] * 15 + [2] * 5)
    cells = means[heaps] + noise
    centres, exists = kmeans(cells[None], torch.ones(1, 60), 3, 10)
    assert exists.all()
    found = {int(((centre - means)**2).sum(1).argmin()) for centre in centres[0]}
    assert found == {0, 1, 2}
    for heap in range(3):
        nearest = ((centres[0] - means[heap])**2).sum(1).argmin()
        torch.testing.assert_close(centres[0, nearest], cells[heaps == heap].mean(0), rtol=0, atol=1e-6)


def test_one_cluster_is_the_weighted_mean() -> None:
    cells, weights = draw(2, 30, 5)
    centres, exists = kmeans(cells, weights, 1, 1)
    torch.testing.assert_close(centres[:, 0], torch.einsum('bn,bnd->bd', weights, cells) / weights.sum(1)[:, None])
    assert exists.all()


def test_every_weight_counts() -> None:
    """A cell of weight 0 is not there; a cell of weight 2 is there twice."""
    cells, weights = draw(1, 30, 3)
    once, _ = kmeans(cells, weights, 3, 5)
    without, _ = kmeans(cells[:, weights[0] > 0], weights[:, weights[0] > 0], 3, 5)
    doubled, _ = kmeans(torch.cat((cells, cells), dim=1), torch.cat((weights, weights), dim=1), 3, 5)
    heavier, _ = kmeans(cells, 2 * weights, 3, 5)
    for other in (without, doubled, heavier):
        torch.testing.assert_close(other, once)


@pytest.mark.parametrize('num_different', [1, 2, 3])
def test_fewer_cells_than_clusters(num_different: int) -> None:
    cells = torch.rand(1, num_different, 4, generator=torch.Generator().manual_seed(1)).repeat(1, 5, 1)
    centres, exists = kmeans(cells, torch.ones(1, 5 * num_different), 3, 10)
    assert exists[0].tolist() == [m < num_different for m in range(3)]
    assert centres.isfinite().all()
    # What exists is those cells.
    assert pairwise_distances(cells, centres[:, exists[0]]).amin(1).max() < 1e-5


def test_nothing_to_cluster() -> None:
    cells, weights = draw(2, 10, 3)
    weights[1] = 0
    centres, exists = kmeans(cells, weights, 3, 5)
    assert exists.tolist() == [[True] * 3, [False] * 3] and centres.isfinite().all()
    alone, _ = kmeans(cells[:1], weights[:1], 3, 5)
    torch.testing.assert_close(alone, centres[:1])


def test_no_gradient_and_no_chance() -> None:
    cells, weights = draw(1, 20, 3)
    results = [kmeans(cells.clone().requires_grad_(), weights, 4, 5)[0] for _ in range(2)]
    assert torch.equal(*results) and not results[0].requires_grad


def test_distances() -> None:
    cells, centres = draw(2, 7, 64)[0], draw(2, 3, 64, seed=5)[0]
    expected = torch.zeros(2, 3, 7, dtype=torch.float64)
    for b, m, n in itertools.product(range(2), range(3), range(7)):
        expected[b, m, n] = ((cells[b, n] - centres[b, m])**2).sum()
    torch.testing.assert_close(pairwise_distances(cells, centres), expected)
    single = pairwise_distances(cells.float(), centres.float())
    assert single.dtype == torch.float32 and (single - expected).abs().max() < 2e-5
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(pairwise_distances(cells.float(), centres.float()), single)
    # One set of centres for several sets of cells; and at a hit next to nothing.
    torch.testing.assert_close(pairwise_distances(cells, centres[:1])[1], pairwise_distances(cells[1:], centres[:1])[0])
    assert 0 <= pairwise_distances(cells.float(), cells.float()).diagonal(dim1=1, dim2=2).max() < 5e-5

"""Affinity through prototypes: a matrix of low rank that is never built."""
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmfss.models.affinities.prototype_affinity import PrototypeAffinity, memberships

QUERY, SUPPORT = (3, 5), (2, 4, 3)
SHARPNESS = torch.tensor(2.5, dtype=torch.float64)


def draw(batch: int = 2, num: int = 4, query: tuple = QUERY, support: tuple = SUPPORT,
         shared: bool = False) -> PrototypeAffinity:
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    sets = 1 if shared else batch
    exists = torch.ones(sets, num, dtype=torch.bool)
    exists[-1, 1] = False
    assignments = rand(sets, num, support[0] * support[1] * support[2]) * exists[..., None]
    assignments = assignments / assignments.sum(-1, keepdim=True).clamp(min=1e-9)
    similarities = 3 * rand(batch, num, query[0] * query[1]) * exists[..., None]
    return PrototypeAffinity(similarities, assignments, exists, SHARPNESS, query, support)


def literal(affinity: PrototypeAffinity) -> Tensor:
    """A[q, s], number by number."""
    batch, num, positions = affinity.similarities.shape
    exists, rows = (x.expand(batch, *x.shape[1:]) for x in (affinity.exists, affinity.assignments))
    out = torch.zeros(batch, positions, rows.shape[2], dtype=torch.float64)
    for b in range(batch):
        for q in range(positions):
            similarities = affinity.similarities[b, :, q]
            powers = [float((SHARPNESS * a).exp()) * bool(there) for a, there in zip(similarities, exists[b])]
            for p in range(num):
                out[b, q] += powers[p] / sum(powers) * rows[b, p]
    return out


@pytest.mark.parametrize('shared', [False, True])
def test_equals_the_definition(shared: bool) -> None:
    affinity = draw(shared=shared)
    expected = literal(affinity)
    torch.testing.assert_close(expected.sum(-1), torch.ones(2, 15, dtype=torch.float64))
    torch.testing.assert_close(affinity.dense().softmax(-1), expected)
    torch.testing.assert_close(affinity.dense(), expected.log())
    torch.testing.assert_close(affinity.scores(4, 9), affinity.dense()[:, 4:9])


@pytest.mark.parametrize('shared', [False, True])
def test_both_readings(shared: bool) -> None:
    affinity = draw(shared=shared)
    values, weights = torch.rand(2, 24, 3, dtype=torch.float64), torch.rand(2, 15, 2, dtype=torch.float64)
    dense = affinity.dense()
    torch.testing.assert_close(affinity.attend(values), dense.softmax(-1) @ values)
    torch.testing.assert_close(affinity.attend(values[:1]), dense.softmax(-1) @ values[:1])
    torch.testing.assert_close(affinity.vote(weights), dense.softmax(-1).transpose(1, 2) @ weights)
    torch.testing.assert_close(affinity.vote(weights, softmax=False, chunk_size=4), dense.transpose(1, 2) @ weights)
    assert affinity.vote(weights.float()).dtype == torch.float32


def test_a_cell_of_no_prototype() -> None:
    affinity = draw()
    affinity.assignments[:, :, 7] = 0
    assert affinity.dense().isfinite().all()
    assert affinity.dense().softmax(-1)[:, :, 7].max() < 1e-300 and not affinity.vote(torch.ones(2, 15, 1))[:, 7].any()


def test_memberships_of_nothing() -> None:
    found = memberships(torch.rand(2, 3, 5), torch.tensor([[1, 0, 1], [0, 0, 0]]).bool(), torch.tensor(3.))
    torch.testing.assert_close(found.sum(1), torch.tensor([1., 0.])[:, None].expand(-1, 5))
    assert not found[0, 1].any()


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN201
        out = func(*args, **(kwargs or {}))
        self.numel = max([self.numel] + [x.numel() for x in tree_leaves(out) if isinstance(x, Tensor)])
        return out


def test_the_matrix_is_never_built() -> None:
    affinity = draw(1, 4, (20, 20), (2, 20, 20))
    values, weights = torch.rand(1, 800, 1, dtype=torch.float64), torch.rand(1, 400, 2, dtype=torch.float64)
    with Largest() as largest:
        affinity.attend(values)
        affinity.vote(weights)
    assert largest.numel <= 4 * 800

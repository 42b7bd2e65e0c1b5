import pytest
import torch
from torch import Tensor

from mmfss.models.affinities import DotProductAffinity
from mmfss.models.affinities.affinity import padded_attention, recomputed_attention

HEADS, WIDTH = 4, 16
SIZES = [((5, 5), (1, 5, 5)), ((4, 7), (3, 6, 3)), ((3, 2), (1, 9, 4))]


def draw(query_size: tuple, support_size: tuple, batch: int = 2, values: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    num_query, num_support = query_size[0] * query_size[1], support_size[0] * support_size[1] * support_size[2]
    make = lambda *shape: torch.randn(batch, *shape, dtype=torch.float64, requires_grad=True)  # noqa: E731
    return make(num_query, WIDTH), make(num_support, WIDTH), make(num_support, values)


def explicit_attention(query: Tensor, key: Tensor, values: Tensor) -> Tensor:
    """Mean over heads of softmax(q k / sqrt(d)) V, a head at a time."""
    width = query.shape[-1] // HEADS
    parts = []
    for head in range(HEADS):
        channels = slice(head * width, (head + 1) * width)
        scores = query[..., channels] @ key[..., channels].transpose(1, 2) / width**0.5
        parts.append(scores.softmax(-1) @ values)
    return torch.stack(parts).mean(0)


@pytest.mark.parametrize(('query_size', 'support_size'), SIZES)
class TestDotProductAffinity:

    @pytest.mark.parametrize('num_values', [1, 3, 4, 9])
    def test_attend_and_its_gradients(self, query_size: tuple, support_size: tuple, num_values: int) -> None:
        query, key, values = draw(query_size, support_size, values=num_values)
        affinity = DotProductAffinity(query, key, HEADS, query_size, support_size)
        out, expected = affinity.attend(values), explicit_attention(query, key, values)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
        weights = torch.randn_like(out)
        ours = torch.autograd.grad((out * weights).sum(), (query, key, values))
        theirs = torch.autograd.grad((expected * weights).sum(), (query, key, values))
        for mine, other in zip(ours, theirs):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)

    def test_dense_is_the_mean_of_the_heads(self, query_size: tuple, support_size: tuple) -> None:
        query, key, _ = draw(query_size, support_size)
        width = WIDTH // HEADS
        parts = zip(query.split(width, -1), key.split(width, -1))
        heads = [part @ other.transpose(1, 2) / width**0.5 for part, other in parts]
        affinity = DotProductAffinity(query, key, HEADS, query_size, support_size)
        assert affinity.dense().shape == (2, affinity.num_query, affinity.num_support)
        torch.testing.assert_close(affinity.dense(), torch.stack(heads).mean(0), rtol=0, atol=1e-12)
        torch.testing.assert_close(affinity.scores(1, 4), affinity.dense()[:, 1:4], rtol=0, atol=1e-12)

    @pytest.mark.parametrize('chunk_size', [1, 7, 1000])
    @pytest.mark.parametrize('softmax', [True, False])
    def test_vote(self, query_size: tuple, support_size: tuple, chunk_size: int, softmax: bool) -> None:
        query, key, _ = draw(query_size, support_size)
        affinity = DotProductAffinity(query, key, HEADS, query_size, support_size)
        weights = torch.randn(2, affinity.num_query, 3, dtype=torch.float64)
        scores = affinity.dense().softmax(-1) if softmax else affinity.dense()
        votes = affinity.vote(weights, softmax, chunk_size)
        torch.testing.assert_close(votes, scores.transpose(1, 2) @ weights, rtol=0, atol=1e-12)

    def test_votes_are_shared_out(self, query_size: tuple, support_size: tuple) -> None:
        """What the query gives is what the supports get."""
        query, key, _ = draw(query_size, support_size)
        affinity = DotProductAffinity(query, key, HEADS, query_size, support_size)
        weights = torch.rand(2, affinity.num_query, 1, dtype=torch.float64)
        torch.testing.assert_close(affinity.vote(weights).sum(1), weights.sum(1), rtol=0, atol=1e-12)

    def test_one_support_set_for_all_queries(self, query_size: tuple, support_size: tuple) -> None:
        query, key, values = draw(query_size, support_size)
        shared = DotProductAffinity(query, key[:1], HEADS, query_size, support_size)
        repeated = DotProductAffinity(query, key[:1].repeat(2, 1, 1), HEADS, query_size, support_size)
        torch.testing.assert_close(shared.attend(values[:1]), repeated.attend(values[:1].repeat(2, 1, 1)))
        torch.testing.assert_close(shared.dense(), repeated.dense())


class TestDropout:
    QUERY_SIZE, SUPPORT_SIZE = (4, 5), (1, 6, 5)

    def heads(self) -> tuple[Tensor, Tensor, Tensor]:
        query, key, values = draw(self.QUERY_SIZE, self.SUPPORT_SIZE)
        split = lambda x: x.detach().unflatten(-1, (HEADS, -1)).transpose(1, 2).requires_grad_()  # noqa: E731
        return split(query), split(key), values

    def test_expectation_is_attention_without_dropout(self) -> None:
        query, key, values = (x.detach() for x in self.heads())
        expected = padded_attention(query, key, values)
        draws = torch.stack([recomputed_attention(query, key, values, 0.5) for _ in range(2000)])
        error = draws.std(0) / len(draws)**0.5
        assert ((draws.mean(0) - expected).abs() < 5 * error).all()
        assert (draws.std(0) > 0).all()

    def test_probability_zero_is_attention(self) -> None:
        query, key, values = self.heads()
        expected = padded_attention(query, key, values)
        out = recomputed_attention(query, key, values, 0., chunk_size=7)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)

    def test_weights_are_dropped_after_the_softmax(self) -> None:
        """With p = 0.5 a kept weight counts twice: equal scores and values 1 give multiples of 2 / S / heads."""
        query, key = torch.zeros(1, HEADS, 6, 4), torch.zeros(1, HEADS, 5, 4)
        counts = recomputed_attention(query, key, torch.ones(1, 5, 1), 0.5) * 5 * HEADS / 2
        torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-5)
        assert counts.unique().numel() > 1

    def test_backward_drops_the_same_weights_as_forward(self) -> None:
        """The output is linear in the values: value times gradient is the output, if the same weights were dropped."""
        query, key, values = self.heads()
        torch.manual_seed(3)
        out = recomputed_attention(query, key, values, 0.5, chunk_size=6)
        torch.manual_seed(4)
        grad, = torch.autograd.grad(out.sum(), values)
        torch.testing.assert_close((grad * values).sum(), out.sum(), rtol=1e-10, atol=0)

    def test_gradients_against_finite_differences(self) -> None:
        def attend(*inputs: Tensor) -> Tensor:
            torch.manual_seed(5)
            return recomputed_attention(*inputs, 0.5, chunk_size=6)

        query, key, values = self.heads()
        inputs = tuple(x[:1, ..., :12, :2].detach().requires_grad_() for x in (query, key, values))
        assert torch.autograd.gradcheck(attend, inputs, nondet_tol=1e-12)

    def test_affinity_uses_dropout_if_told(self) -> None:
        query, key, values = draw(self.QUERY_SIZE, self.SUPPORT_SIZE)
        affinity = DotProductAffinity(query, key, HEADS, self.QUERY_SIZE, self.SUPPORT_SIZE, dropout=0.5)
        assert not torch.equal(affinity.attend(values), affinity.attend(values))

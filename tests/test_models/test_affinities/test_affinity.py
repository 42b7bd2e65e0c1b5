import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmfss.models.affinities import DotProductAffinity
from mmfss.models.affinities.affinity import padded_attention
from mmfss.models.affinities.dropout_attention import HashedMask, dropout_attention

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
    QUERY_SIZE, SUPPORT_SIZE = (5, 8), (1, 6, 5)
    TILE = 1  # The smallest: 32 rows, so that a head has two tiles, of 32 and 8 rows.

    def heads(self, num_values: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        query, key, values = draw(self.QUERY_SIZE, self.SUPPORT_SIZE, values=num_values)
        split = lambda x: x.detach().unflatten(-1, (HEADS, -1)).transpose(1, 2).requires_grad_()  # noqa: E731
        return split(query), split(key), values

    def drawn_mask(self, query: Tensor, key: Tensor, dropout: float) -> Tensor:
        """The mask (B, H, Q, S) that the next call will use, kept weights divided by the probability to be kept."""
        state = torch.get_rng_state()
        seed = torch.randint(2**31, (2, )).tolist()
        torch.set_rng_state(state)
        mask, number = HashedMask(seed, dropout, 32, key.shape[2], like=query), 0
        whole = query.new_empty(*query.shape[:3], key.shape[2])
        for head in whole.flatten(0, 1):
            for rows in head.split(32):
                rows.copy_(mask(number, len(rows)) * mask.scale)
                number += 1
        return whole

    @pytest.mark.parametrize(('num_values', 'dropout'), [(1, 0.5), (3, 0.3)])
    def test_result_and_gradients_are_those_of_autograd_with_the_same_mask(self, num_values: int,
                                                                           dropout: float) -> None:
        inputs = query, key, values = self.heads(num_values)
        mask = self.drawn_mask(query, key, dropout)
        out = dropout_attention(*inputs, dropout, self.TILE)
        weights = (query @ key.transpose(-1, -2) / query.shape[-1]**0.5).softmax(-1)
        expected = ((weights * mask) @ values.unsqueeze(1)).mean(1)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
        upstream = torch.randn_like(out)
        pairs = zip(torch.autograd.grad(out, inputs, upstream), torch.autograd.grad(expected, inputs, upstream))
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)

    def test_gradients_against_finite_differences(self) -> None:
        def attend(*inputs: Tensor) -> Tensor:
            torch.manual_seed(5)
            return dropout_attention(*inputs, 0.5, self.TILE)

        query, key, values = self.heads()
        parts = query[:1, :2, :34, :2], key[:1, :2, :12, :2], values[:1, :12]
        assert torch.autograd.gradcheck(attend, tuple(x.detach().clone().requires_grad_() for x in parts))

    def test_probability_zero_is_attention(self) -> None:
        inputs = self.heads()
        torch.testing.assert_close(dropout_attention(*inputs, 0., self.TILE), padded_attention(*inputs), rtol=0,
                                   atol=1e-12)

    def test_expectation_is_attention_without_dropout(self) -> None:
        query, key, values = (x.detach() for x in self.heads())
        torch.manual_seed(0)
        draws = torch.stack([dropout_attention(query, key, values, 0.5) for _ in range(500)])
        error = draws.std(0) / len(draws)**0.5
        assert ((draws.mean(0) - padded_attention(query, key, values)).abs() < 5 * error).all()
        assert (draws.std(0) > 0).all()

    def test_repeats_with_the_generator_state(self) -> None:
        """A resumed run restores the state of the generator, and so drops the same weights."""
        inputs = self.heads()
        torch.manual_seed(7)
        torch.rand(3)
        state = torch.get_rng_state()
        first, second = (dropout_attention(*inputs, 0.5) for _ in range(2))
        torch.set_rng_state(state)
        assert torch.equal(dropout_attention(*inputs, 0.5), first)
        assert not torch.equal(first, second)

    def test_episodes_and_heads_have_masks_of_their_own(self) -> None:
        query, key, _ = self.heads()
        mask = self.drawn_mask(query, key, 0.5).flatten(0, 1)
        assert not any(torch.equal(a, b) for i, a in enumerate(mask) for b in mask[:i])

    def test_half_precision(self) -> None:
        query, key, values = (x.detach().bfloat16().requires_grad_() for x in self.heads())
        out = dropout_attention(query, key, values, 0.5)
        out.sum().backward()
        assert out.dtype == query.grad.dtype == torch.bfloat16 and query.grad.isfinite().all()

    def test_affinity_uses_dropout_if_told(self) -> None:
        query, key, values = draw(self.QUERY_SIZE, self.SUPPORT_SIZE)
        affinity = DotProductAffinity(query, key, HEADS, self.QUERY_SIZE, self.SUPPORT_SIZE, dropout=0.5)
        assert not torch.equal(affinity.attend(values), affinity.attend(values))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('width', [32, 64, 128, 256])
def test_a_gpu_takes_a_kernel_that_holds_no_matrix(width: int, dtype: torch.dtype) -> None:
    """With dropout, forwards and backwards; the quadratic kernel is not allowed here."""
    draw_on_gpu = lambda *shape: torch.randn(*shape, device='cuda', dtype=dtype, requires_grad=True)  # noqa: E731
    query, key = (draw_on_gpu(2, 8, length, width) for length in (576, 600))
    values = torch.rand(2, 600, 1, device='cuda', dtype=dtype)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        padded_attention(query, key, values, dropout=0.5).sum().backward()
    assert query.grad.isfinite().all() and key.grad.isfinite().all()


class TestHashedMask:
    ROWS, COLUMNS = 128, 1151  # an odd number of columns: rows do not begin with a word of their own

    def masks(self, dropout: float, seed: tuple = (1234567890, 987654321), tiles: int = 4) -> Tensor:
        mask = HashedMask(seed, dropout, self.ROWS, self.COLUMNS, like=torch.empty(0))
        return torch.stack([mask(tile, self.ROWS).clone() for tile in range(tiles)]).double()

    @pytest.mark.parametrize('dropout', [0.1, 0.5, 0.9])
    def test_rate(self, dropout: float) -> None:
        """Of n independent weights the mean has the standard deviation sqrt(p (1 - p) / n)."""
        masks = self.masks(dropout)
        assert set(masks.unique().tolist()) == {0., 1.}
        deviation = (dropout * (1 - dropout))**0.5
        assert abs(masks.mean() - (1 - dropout)) < 4 * deviation / masks.numel()**0.5
        for axis in (0, 1, 2):
            means = masks.movedim(axis, 0).flatten(1).mean(1)
            assert (means - (1 - dropout)).abs().max() < 5 * deviation * (len(means) / masks.numel())**0.5

    def test_weights_are_uncorrelated(self) -> None:
        signs = 2 * self.masks(0.5).flatten() - 1
        lags = [*range(1, 40), *(self.COLUMNS * row + step for row in range(1, 6) for step in (-1, 0, 1)),
                self.ROWS * self.COLUMNS, 2**14, 2**16]
        scores = torch.stack([(signs[lag:] * signs[:-lag]).sum() / (len(signs) - lag)**0.5 for lag in lags])
        assert scores.abs().max() < 4.5
        assert abs(scores.square().mean() - 1) < 0.6

    def test_seeds_differ(self) -> None:
        first, second = (2 * self.masks(0.5, seed, tiles=1) - 1 for seed in ((5, 7), (6, 2**30)))
        assert abs((first * second).sum()) < 5 * first.numel()**0.5

    def test_a_part_of_a_tile_is_its_beginning(self) -> None:
        mask = HashedMask((1, 2), 0.5, 8, 5, like=torch.empty(0))
        whole = mask(3, 8).clone()
        assert torch.equal(mask(3, 5), whole[:5])
        assert not torch.equal(mask(2, 8), whole)

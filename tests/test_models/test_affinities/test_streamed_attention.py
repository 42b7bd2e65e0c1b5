import pytest
import torch
from torch import Tensor

from mmfss.models.affinities import DotProductAffinity
from mmfss.models.affinities.affinity import can_stream, padded_attention, streamed_attention

HEADS = 4


def draw(num_values: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """(2, heads, 30, 5), (2, heads, 50, 5), (2, 50, V), scores of about unit scale."""
    generator = torch.Generator().manual_seed(num_values)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype)  # noqa: E731
    return normal(2, 30, HEADS, 5).transpose(1, 2), normal(2, 50, HEADS, 5).transpose(1, 2), normal(2, 50, num_values)


class TestStreamedAttention:

    @pytest.mark.parametrize('num_values', [1, 3, 9])
    @pytest.mark.parametrize('chunk_elements', [1, 50 * 32 + 1, 2**20])
    def test_equals_the_literal_formula(self, num_values: int, chunk_elements: int) -> None:
        query, key, values = draw(num_values)
        weights = torch.einsum('bhqd,bhsd->bhqs', query, key).div(5**0.5).softmax(-1)
        expected = torch.einsum('bhqs,bsv->bqv', weights, values) / HEADS
        torch.testing.assert_close(streamed_attention(query, key, values, chunk_elements), expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(padded_attention(query, key, values), expected, rtol=0, atol=1e-12)

    def test_large_scores_do_not_overflow(self) -> None:
        query, key, values = draw(1, torch.float32)
        out = streamed_attention(100 * query, 100 * key, values.sigmoid())
        assert (out > 0).all() and (out < 1).all()

    def test_inputs_stay_as_they_were(self) -> None:
        inputs = draw(1)
        copies = [x.clone() for x in inputs]
        streamed_attention(*inputs)
        assert all(torch.equal(x, copy) for x, copy in zip(inputs, copies))

    def test_affinity_is_the_same_with_and_without_gradient(self) -> None:
        query, key, values = draw(1)
        query, key = (x.transpose(1, 2).flatten(2).requires_grad_() for x in (query, key))
        affinity = DotProductAffinity(query, key, HEADS, (5, 6), (2, 5, 5))
        with torch.no_grad():
            streamed = affinity.attend(values)
        out = affinity.attend(values)
        assert out.requires_grad
        torch.testing.assert_close(streamed, out, rtol=0, atol=1e-12)


class TestCanStream:

    def test_only_without_gradient(self) -> None:
        x = torch.zeros(2)
        assert can_stream(x, x.double())
        assert not can_stream(x, x.clone().requires_grad_())
        with torch.no_grad():
            assert can_stream(x.clone().requires_grad_())

    def test_only_in_full_precision(self) -> None:
        assert not can_stream(torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16))

import torch

from mmfss.models.layers import compose_ways


def test_one_way_is_left_as_it_is() -> None:
    logits = torch.randn(2, 2, 3, 4)
    assert compose_ways([logits]) is logits


def test_background_is_that_of_the_strongest_foreground() -> None:
    """Three pixels by hand: way 2 is strongest, way 1 is strongest, a draw goes to the first way."""
    first = torch.tensor([[0.1, 0.2, 0.3], [1.0, 5.0, 2.0]]).view(1, 2, 1, 3)
    second = torch.tensor([[0.6, 0.7, 0.8], [3.0, 4.0, 2.0]]).view(1, 2, 1, 3)
    expected = torch.tensor([[0.6, 0.2, 0.3], [1.0, 5.0, 2.0], [3.0, 4.0, 2.0]]).view(1, 3, 1, 3)
    torch.testing.assert_close(compose_ways([first, second]), expected)


def test_literal_rule_on_random_logits() -> None:
    ways = [torch.randn(2, 2, 5, 6) for _ in range(4)]
    out = compose_ways(ways)
    assert out.shape == (2, 5, 5, 6)
    for b, row, col in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(6)).tolist():
        foreground = [way[b, 1, row, col].item() for way in ways]
        best = foreground.index(max(foreground))
        assert out[b, :, row, col].tolist() == [ways[best][b, 0, row, col].item(), *foreground]

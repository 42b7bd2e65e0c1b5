import math

import torch
from mmengine.model import ExponentialMovingAverage

from mmfss.models.layers import RasterPositionEncoding, sinusoidal_encoding


def test_formula() -> None:
    table = sinusoidal_encoding(50, 12)
    for position, channel in ((0, 0), (0, 1), (7, 0), (7, 5), (49, 10), (49, 11)):
        angle = position * math.exp(-(channel // 2 * 2) * math.log(10000) / 12)
        expected = math.cos(angle) if channel % 2 else math.sin(angle)
        assert abs(table[position, channel].item() - expected) < 1e-5


def test_angles_are_rounded_to_float32() -> None:
    """Published models were trained with float32 angles: at high positions they differ visibly from exact ones."""
    positions = torch.arange(10000, dtype=torch.float64)[:, None]
    frequency = torch.exp(torch.arange(0, 128, 2, dtype=torch.float64) * -(math.log(10000) / 128))
    error = (sinusoidal_encoding(10000, 128)[:, ::2].double() - (positions * frequency).sin()).abs().max().item()
    assert 3e-4 < error < 2e-3


def test_table_grows_and_keeps_its_values() -> None:
    encoding = RasterPositionEncoding(8)
    short = encoding(torch.zeros(1, 5, 8))
    long = encoding(torch.zeros(1, 12000, 8))
    assert torch.equal(short[0], long[0, :5])
    assert torch.equal(encoding(torch.zeros(1, 5, 8)), short)
    assert encoding.state_dict() == {}


def test_moving_average_of_a_model_that_has_grown_its_table() -> None:
    model = torch.nn.Sequential(RasterPositionEncoding(8), torch.nn.Linear(8, 1))
    average = ExponentialMovingAverage(model)
    tokens = torch.rand(1, 5, 8)
    expected = model(tokens)
    average.update_parameters(model)
    assert torch.equal(average(tokens), expected)

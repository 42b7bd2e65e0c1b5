import numpy as np
import torch

from mmfss.models.layers.simplex import project_to_simplex
from tests.references.scaleproto_golden import golden


def test_golden() -> None:
    expected = golden('simplex')
    found = project_to_simplex(torch.from_numpy(expected['v']))
    np.testing.assert_allclose(found.numpy(), expected['projected'], atol=1e-6)


def test_entries_that_do_not_take_part() -> None:
    rows = torch.tensor([[3., 0.2, 0.1, 9.], [1., 1., 5., 5.], [1., 2., 3., 4.]])
    valid = torch.tensor([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    expected = torch.tensor([[0, 0.55, 0.45, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(project_to_simplex(rows, valid), expected)


def test_nearest_point() -> None:
    """No random point of the simplex is nearer."""
    generator = torch.Generator().manual_seed(0)
    row = torch.randn(5, generator=generator)
    nearest = (project_to_simplex(row) - row).square().sum()
    others = torch.randn(2000, 5, generator=generator).exp()
    others = others / others.sum(1, keepdim=True)
    assert ((others - row).square().sum(1) >= nearest - 1e-6).all()

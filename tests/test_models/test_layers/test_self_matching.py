"""DMTNet's transformation: cells, prototypes, inverses, and the low-rank form."""
import numpy as np
import pytest
import torch
from torch import Tensor

from mmfss.models.affinities import unit
from mmfss.models.heads.dmtnet_head import coarse_loss, reference_groups
from mmfss.models.layers import resize_aligned
from mmfss.models.layers.self_matching import (
    REFERENCE_RCOND,
    STABLE_RCOND,
    ReferenceRows,
    cell_starts,
    cells,
    dual_rows,
    metric,
    prototypes,
    unit_rows,
)
from tests.references.correlations import assert_close, load
from tests.references.seeded import seeded_array, seeded_mask, seeded_state_dict


@pytest.fixture(scope='module')
def units() -> dict[str, np.ndarray]:
    return load('dmtnet', 'units')


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(seeded_array(name, shape, 0))


class TestCells:

    def test_reference(self, units: dict) -> None:
        sides = [int(key[len('grid_'):]) for key in units if key.startswith('grid_') and 'x' not in key]
        assert len(sides) > 5
        for side in sides:
            length, *starts = units[f'grid_{side}'].tolist()
            assert (side // 4, cell_starts(side)) == (length, starts)
        boxes = units['grid_9x13'].tolist()
        indicators = cells((9, 13), torch.zeros(1))
        assert indicators.shape == (len(boxes), 9, 13)
        for indicator, (top, bottom, left, right) in zip(indicators, boxes):
            expected = torch.zeros(9, 13)
            expected[top:bottom, left:right] = 1
            assert torch.equal(indicator, expected)

    def test_too_small(self) -> None:
        with pytest.raises(ValueError, match='3 x 8 is too small'):
            cells((3, 8), torch.zeros(1))


class TestCoarseMasks:

    def test_reference(self, units: dict) -> None:
        mask = torch.from_numpy(seeded_mask('mask', (2, 160, 160), 0))
        target = torch.from_numpy(seeded_mask('gt', (2, 160, 160), 0)).bool()
        losses = 0.
        for tap, (side, channels) in enumerate(zip((20, 20, 10, 10, 5, 5), (8, 8, 12, 12, 16, 16))):
            support = (drawn(f's{tap}', (2, channels, side, side)) + 0.5).flatten(2)
            query = torch.from_numpy(units[f'coarse_query_{tap}']).flatten(2)
            foreground = resize_aligned(mask[:, None], (side, side))
            weights = torch.cat((1 - foreground, foreground), dim=1)
            grid = cells((side, side), support)
            assert len(grid) == units['coarse_n'][tap]
            background = support.view(2, channels, side, side) * (1 - foreground)
            assert_close(background, units[f'coarse_bgfeat_{tap}'], 1e-5)
            of_map = prototypes(support, weights.flatten(2))
            assert_close(of_map[:, 1], units[f'coarse_pf_{tap}'], 1e-5)
            assert_close(of_map[:, 0], units[f'coarse_pb_{tap}'], 1e-5)
            of_cells = prototypes(support, (weights.unsqueeze(2) * grid).flatten(3))
            rows = torch.nn.functional.normalize(of_cells, dim=-1, eps=1e-8).sum(2) * 10 / units['coarse_n'][0]
            scores = rows @ torch.nn.functional.normalize(query, dim=1, eps=1e-8)
            assert_close(scores.unflatten(2, (side, side)), units[f'coarse_sim_{tap}'], 1e-5)
            coarse = scores.argmax(1, keepdim=True).float()
            of_query = prototypes(query, torch.cat((coarse, 1 - coarse), dim=1))
            assert_close(of_query[:, 0], units[f'coarse_pfq_{tap}'], 1e-5)
            assert_close(of_query[:, 1], units[f'coarse_pbq_{tap}'], 1e-5)
            losses += coarse_loss(scores.unflatten(2, (side, side))[:, None], target) / 13
        assert_close(losses, units['coarse_loss_over_13'], 1e-5)

    def test_no_weight_no_prototype(self) -> None:
        assert torch.equal(prototypes(torch.randn(1, 3, 4), torch.zeros(1, 2, 4)), torch.zeros(1, 2, 3))


class TestTransformation:

    def test_reference(self, units: dict) -> None:
        """Prototypes that are missing in some taps included."""
        widths, grids = (8, 12, 16), ((4, 5), (3, 4), (2, 3))
        references = ReferenceRows(widths, dropout=0.2).eval()
        shapes = {f'reference_layer{k}.weight': (2, widths[(k - 1) % 3]) for k in range(1, 7)}
        weights = [torch.from_numpy(value) for value in seeded_state_dict(shapes, 0).values()]
        with torch.no_grad():
            for rows, value in zip((*references.support, *references.query), weights):
                rows.copy_(value)
        for tap in range(13):
            group = (tap > 3) + (tap > 9)
            shape = (2, widths[group], *grids[group])
            pf, pb, pfq, pbq = (drawn(f'{name}{tap}', shape[:2]) for name in ('pf', 'pb', 'pfq', 'pbq'))
            if tap == 1:
                pfq[0] = 0
            if tap == 6:
                pbq[1] = 0
            if tap == 11:
                pf[0] = 0
            if tap == 12:
                pfq[:] = 0
            query, support, background = (drawn(f'{name}{tap}', shape).flatten(2) for name in ('tq', 'ts', 'tb'))
            duals = dual_rows(unit_rows(torch.stack((pb, pf), dim=1)))
            own = dual_rows(unit_rows(torch.stack((pfq, pbq), dim=1)))
            with torch.no_grad():
                rows = references(group, (2, ))
            coordinates = 0.5 * torch.cat((duals, own), dim=1) @ query
            for key, ours in (('q', rows.T @ coordinates), ('s', rows[:2].T @ (duals @ support)),
                              ('b', rows[:2].T @ (duals @ background))):
                reference = units[f'tr_{key}_{tap}']
                assert_close(ours.view(shape), reference, 1e-5 * max(1, np.abs(reference).max()), f'{key}{tap}')

    def test_metric_gives_norms_and_products(self) -> None:
        rows = unit_rows(torch.randn(4, 50))
        to_space = metric(rows)
        a, b = torch.randn(4, 6), torch.randn(4, 6)
        product = (rows.T @ a).T @ (rows.T @ b)
        torch.testing.assert_close((to_space @ a).T @ (to_space @ b), product, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(unit((to_space @ a).T).norm(dim=1), unit((rows.T @ a).T).norm(dim=1))

    def test_metric_of_equal_rows_is_finite(self) -> None:
        rows = unit_rows(torch.randn(1, 9)).repeat(4, 1).requires_grad_()
        to_space = metric(rows)
        to_space.sum().backward()
        assert to_space.isfinite().all() and rows.grad.isfinite().all()


class TestDualRows:

    @pytest.mark.parametrize('rcond', [STABLE_RCOND, REFERENCE_RCOND])
    def test_is_the_pseudo_inverse(self, rcond: float) -> None:
        rows = unit_rows(torch.randn(5, 2, 40))
        expected = torch.linalg.pinv(rows.double()).transpose(-1, -2).float()
        torch.testing.assert_close(dual_rows(rows, rcond), expected, rtol=1e-4, atol=1e-5)

    def test_nearly_parallel_rows(self) -> None:
        first = unit_rows(torch.randn(3, 60))
        rows = torch.stack((first, unit_rows(first + 2e-3 * torch.randn(3, 60))), dim=1)
        expected = torch.linalg.pinv(rows.double()).transpose(-1, -2)
        assert expected.abs().max() > 5
        torch.testing.assert_close(dual_rows(rows).double(), expected, rtol=1e-5, atol=1e-5)

    def test_missing_rows(self) -> None:
        row = unit_rows(torch.randn(1, 30))[0]
        zero = torch.zeros(30)
        rows = torch.stack([torch.stack(pair) for pair in ((row, zero), (zero, row), (zero, zero), (row, row))])
        duals = dual_rows(rows.requires_grad_())
        expected = torch.stack([torch.stack(pair) for pair in ((row, zero), (zero, row), (zero, zero),
                                                                (row / 2, row / 2))])
        torch.testing.assert_close(duals, expected, atol=1e-5, rtol=1e-4)
        duals.sum().backward()
        assert rows.grad.isfinite().all()
        for index in range(4):
            assert torch.equal(dual_rows(rows[index:index + 1])[0], duals[index])

    def test_gradients(self) -> None:
        rows = torch.randn(2, 2, 5, dtype=torch.double, requires_grad=True)
        assert torch.autograd.gradcheck(dual_rows, (rows, ))


class TestReferenceRows:

    def test_dropout_is_of_each_sample(self) -> None:
        torch.manual_seed(0)
        references = ReferenceRows((64, ), dropout=0.5)
        rows = references(0, (3, 2))
        assert rows.shape == (3, 2, 4, 64) and not torch.equal(rows[0, 0], rows[1, 0])
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(3, 2, 4), atol=1e-4, rtol=0)
        references.eval()
        assert references(0, (3, 2)).shape == (4, 64)

    def test_initial_scale(self) -> None:
        torch.manual_seed(0)
        references = ReferenceRows((4096, ), dropout=0.)
        assert references.support[0].std().item() == pytest.approx(4096**-0.5, rel=0.05)


class TestGroups:

    def test_levels_and_published(self) -> None:
        resnet50 = ((512, ) * 4, (1024, ) * 6, (2048, ) * 3)
        groups = [[0] * 4, [1] * 6, [2] * 3]
        assert reference_groups(resnet50, 'level') == reference_groups(resnet50, 'published') == groups
        vgg16 = ((512, ) * 3, (512, ) * 3, (512, ))
        assert reference_groups(vgg16, 'level') == [[0] * 3, [1] * 3, [2]]
        assert reference_groups(vgg16, 'published') == [[0, 0, 0], [0, 1, 1], [1]]

    def test_widths_within_a_level(self) -> None:
        assert reference_groups(((8, 8), (16, 24), (24, )), 'level') == [[0, 0], [1, 2], [3]]
        with pytest.raises(ValueError, match='one width in each group'):
            reference_groups(((8, 8), (16, 24), (24, )), 'published')
        with pytest.raises(ValueError, match="must be 'level' or 'published', got 'stage'"):
            reference_groups(((8, ), (16, ), (24, )), 'stage')

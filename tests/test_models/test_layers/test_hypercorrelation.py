"""Center-pivot convolution, correlation, and the learner of correlation pyramids."""
from typing import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.converters.published_weights import hpn_learner_to_mmfss
from mmfss.models.affinities import CorrelationAffinity, unit
from mmfss.models.layers import CenterPivotConv4d, HypercorrelationLearner, query_major, resize_aligned
from mmfss.models.layers.hypercorrelation_learner import infer_grids
from tests.references.correlations import assert_close, load
from tests.references.seeded import seeded_array, seeded_mask, seeded_state_dict

# Input channels, output channels, kernel, support stride, shape of the input.
CONVOLUTIONS = dict(
    a=(3, 4, 5, 4, (2, 3, 6, 7, 13, 11)),
    b=(4, 8, 3, 2, (1, 4, 5, 4, 7, 6)),
    c=(8, 8, 3, 1, (1, 8, 4, 5, 2, 3)),
    d=(2, 3, 5, 4, (1, 2, 4, 3, 8, 9)))


@pytest.fixture(scope='module')
def units() -> dict[str, np.ndarray]:
    return load('hsnet', 'units')


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(seeded_array(name, shape, 0))


def seeded_conv(c_in: int, c_out: int, kernel: int, stride: int) -> CenterPivotConv4d:
    conv = CenterPivotConv4d(c_in, c_out, kernel, stride)
    names = dict(conv1='query_conv', conv2='support_conv')
    shapes = {f'{name}.{kind}': getattr(getattr(conv, ours), kind).shape
              for name, ours in names.items() for kind in ('weight', 'bias')}
    state = seeded_state_dict(shapes, 0, [('*.bias', 10.)])
    conv.load_state_dict({name.replace(name[:5], names[name[:5]]): torch.from_numpy(value)
                          for name, value in state.items()})
    return conv


class TestCenterPivotConv4d:

    @pytest.mark.parametrize('letter', CONVOLUTIONS)
    @torch.no_grad()
    def test_reference(self, letter: str, units: dict) -> None:
        *arguments, shape = CONVOLUTIONS[letter]
        conv, x = seeded_conv(*arguments), drawn(f'cp4d.{letter}', shape)
        assert_close(conv(x), units[f'cp4d_{letter}'], 1e-5)
        layout = query_major(shape[0], shape[1], shape[2:4], shape[4:], x).copy_(x)
        assert_close(conv(layout), units[f'cp4d_{letter}'], 1e-5)

    @pytest.mark.parametrize(('side', 'stride'), [(1, 2), (1, 4), (2, 4), (3, 4)])
    def test_gradients_in_bfloat16_where_the_stride_is_longer_than_the_side(self, side: int, stride: int) -> None:
        x, gradients = drawn('x', (4, 64, 8, 8, side, side)), []
        for enabled in (False, True):
            conv = seeded_conv(64, 128, 5, stride)
            with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
                conv(x).float().square().mean().backward()
            gradients.append(conv.support_conv.weight.grad)
        exact, rough = gradients
        assert (rough - exact).norm() < 0.02 * exact.norm()

    @torch.no_grad()
    def test_one_instance_takes_any_size(self) -> None:
        conv = seeded_conv(2, 3, 5, 4)
        for support in ((8, 9), (5, 4), (1, 13)):
            fresh = seeded_conv(2, 3, 5, 4)
            x = torch.randn(1, 2, 4, 3, *support)
            assert torch.equal(conv(x), fresh(x))
            assert conv(x).shape == (1, 3, 4, 3, -(-support[0] // 4), -(-support[1] // 4))

    def test_query_layout_is_what_the_convolution_reads(self) -> None:
        x = query_major(2, 3, (4, 5), (6, 7), torch.zeros(1))
        assert x.shape == (2, 3, 4, 5, 6, 7)
        assert x.permute(0, 2, 3, 1, 4, 5).is_contiguous()

    def test_gradients(self) -> None:
        conv = CenterPivotConv4d(2, 2, 3, 2).double()
        x = torch.randn(1, 2, 2, 3, 3, 2, dtype=torch.double, requires_grad=True)
        assert torch.autograd.gradcheck(conv, (x, ))


class TestCorrelation:

    @pytest.mark.parametrize('written', [False, True])
    @torch.no_grad()
    def test_reference(self, units: dict, written: bool) -> None:
        """Unequal, non-square grids; a zero vector; a negative correlation; norms near the epsilon."""
        levels = []
        sizes = ((range(4), 8, (6, 5), (5, 7)), (range(4, 10), 12, (4, 3), (3, 4)), (range(10, 13), 16, (3, 2), (2, 3)))
        for taps, channels, query_size, support_size in sizes:
            level = []
            for tap in taps:
                query = drawn(f'q{tap}', (2, channels, *query_size))
                support = drawn(f's{tap}', (2, channels, *support_size))
                if tap == 2:
                    support[0, :, 1, 2] = 0
                if tap == 11:
                    support[1] = 0
                if tap == 5:
                    query[0] *= 1e-5
                tokens = [unit(x.flatten(2).transpose(1, 2)).unsqueeze(1) for x in (query, support)]
                occupied = tokens[1].abs().sum(-1) > 0
                affinity = CorrelationAffinity(tokens[0], [tokens[1]], query_size, (1, *support_size), occupied)
                out = torch.zeros(2, *query_size, *support_size) if written else None
                level.append(affinity.correlation(0, out=out))
            levels.append(torch.stack(level, dim=1))
        for key, level in zip(('corr_l2', 'corr_l3', 'corr_l4'), levels):
            assert_close(level, units[key], 1e-5, key)

    def test_masked_features(self, units: dict) -> None:
        mask = torch.from_numpy(seeded_mask('mask', (2, 100, 100), 0))
        for index, size in enumerate(((13, 13), (7, 7), (4, 4), (25, 12))):
            masked = drawn(f'mf{index}', (2, 3, *size)) * resize_aligned(mask[:, None], size)
            assert_close(masked, units[f'mask_feature_{index}'], 1e-5)

    @staticmethod
    def affinity(queries_per_shot: int = 1, supports: int = 2) -> CorrelationAffinity:
        generator = torch.Generator().manual_seed(3)
        query = unit(torch.randn(2, queries_per_shot, 12, 6, generator=generator))
        sides = [unit(torch.randn(supports, 3, 10, 6, generator=generator)) for _ in range(2)]
        return CorrelationAffinity(query, sides, (3, 4), (3, 5, 2))

    @pytest.mark.parametrize('queries_per_shot', [1, 3])
    @pytest.mark.parametrize('supports', [1, 2])
    def test_scores_are_the_correlations(self, queries_per_shot: int, supports: int) -> None:
        affinity = self.affinity(queries_per_shot, supports)
        correlations = affinity.correlations()
        assert correlations.shape == (2, 3, 2, 3, 4, 5, 2)
        expected = correlations.sum(2).flatten(2, 3).flatten(3).transpose(1, 2).flatten(2)
        torch.testing.assert_close(affinity.dense(), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(affinity.scores(5, 9), expected[:, 5:9], rtol=0, atol=1e-6)
        assert correlations.min() == 0 and correlations.max() <= 1

    def test_streamed_votes_and_attention(self) -> None:
        affinity = self.affinity()
        dense, weights, values = affinity.dense(), torch.rand(2, 12, 4), torch.rand(2, 30, 5)
        torch.testing.assert_close(affinity.attend(values), dense.softmax(-1) @ values)
        for softmax, matrix in ((True, dense.softmax(-1)), (False, dense)):
            votes = affinity.vote(weights, softmax, chunk_size=5)
            torch.testing.assert_close(votes, matrix.transpose(1, 2) @ weights)

    @torch.no_grad()
    def test_unoccupied_columns_are_skipped_not_changed(self) -> None:
        query, support = unit(torch.randn(2, 1, 6, 4)), unit(torch.randn(2, 1, 8, 4))
        occupied = torch.rand(2, 1, 8) > 0.5
        support = support * occupied.unsqueeze(-1)
        for known in (occupied, None):
            affinity = CorrelationAffinity(query, [support], (2, 3), (1, 4, 2), known)
            out = torch.zeros(2, 2, 3, 4, 2)
            affinity.correlation(0, out=out)
            torch.testing.assert_close(out, affinity.correlation(0), rtol=0, atol=1e-6)


class TestLearner:

    @torch.no_grad()
    def test_reference(self, units: dict) -> None:
        learner = HypercorrelationLearner((3, 6, 4))
        official = {}
        for level in ('4', '3', '2', '4to3', '3to2'):
            for place in (0, 3, 6):
                for name in ('conv1.weight', 'conv1.bias', 'conv2.weight', 'conv2.bias'):
                    official[f'encoder_layer{level}.{place}.{name}'] = None
                for kind in ('weight', 'bias'):
                    official[f'encoder_layer{level}.{place + 1}.{kind}'] = None
        for decoder in ('decoder1', 'decoder2'):
            for place in (0, 2):
                official.update({f'{decoder}.{place}.weight': None, f'{decoder}.{place}.bias': None})
        assert len(official) == 98
        ours = dict(zip(official, hpn_learner_to_mmfss(official)))
        shapes = {name: learner.state_dict()[ours[name]].shape for name in official}
        drawn_weights = seeded_state_dict(shapes, 0, [('decoder*.weight', 1.41)])
        learner.load_state_dict({ours[name]: torch.from_numpy(value) for name, value in drawn_weights.items()})
        pyramid = [drawn(name, shape).abs() for name, shape in (
            ('pyr4', (2, 3, 3, 3, 9, 10)), ('pyr3', (2, 6, 5, 5, 18, 20)), ('pyr2', (2, 4, 10, 10, 36, 40)))]
        squeezed = [squeeze(level) for squeeze, level in zip(learner.squeeze, pyramid)]
        assert_close(squeezed[0], units['learner_sqz4'], 1e-5)
        assert [list(x.shape) for x in squeezed] == units['learner_shapes'].tolist()
        assert_close(learner(pyramid), units['learner_logits'], 1e-5)

    @pytest.mark.parametrize(('layers', 'number'), [((3, 6, 4), 2573794), ((3, 23, 4), 2587394), ((1, 3, 3), 2570018)])
    def test_number_of_parameters(self, layers: tuple[int, ...], number: int) -> None:
        assert sum(p.numel() for p in HypercorrelationLearner(layers).parameters()) == number

    @torch.no_grad()
    def test_query_sides_need_not_agree(self) -> None:
        learner = HypercorrelationLearner((1, 1, 1)).eval()
        pyramid = [torch.rand(1, 1, *query, side, side) for query, side in (((2, 5), 4), ((3, 9), 8), ((6, 17), 16))]
        logits = learner(pyramid)
        assert logits.shape == (1, 2, 12, 34) and logits.isfinite().all()

    def test_wrong_levels(self) -> None:
        with pytest.raises(ValueError, match='three levels'):
            HypercorrelationLearner((3, 6))


class TestImageSizes:
    """Which sides can be squeezed to equal positions."""

    @pytest.fixture
    def learner(self) -> HypercorrelationLearner:
        return HypercorrelationLearner((1, 1, 1))

    @staticmethod
    def refused(learner: HypercorrelationLearner, side: int, rounded: Callable[[float], int]) -> bool:
        try:
            learner.check_support([[rounded(side / stride)] * 2 for stride in (32, 16, 8)], (side, side))
        except ValueError:
            return True
        return False

    def test_padded_convolutions_take_all(self, learner: HypercorrelationLearner) -> None:
        assert not any(self.refused(learner, side, lambda x: int(np.ceil(x))) for side in range(64, 641))

    def test_pooling_takes_not_all(self, learner: HypercorrelationLearner) -> None:
        refused = [side for side in range(64, 641) if self.refused(learner, side, int)]
        assert refused == [*range(264, 288), *range(520, 544)]

    def test_nearest_sides_are_named(self, learner: HypercorrelationLearner) -> None:
        with pytest.raises(ValueError, match='height 270 .* nearest that work: 263 and 288 pixels'):
            learner.check_support([(8, 4), (16, 8), (33, 16)], (270, 128))
        with pytest.raises(ValueError, match='width 280'):
            learner.check_support([(4, 8), (8, 17), (16, 35)], (128, 280))
        # No division by powers of two: no advice, but a reason.
        with pytest.raises(ValueError, match='which must be equal.$'):
            learner.check_support([(20, 20), (20, 20), (90, 90)], (100, 100))

    def test_rounding_is_found(self) -> None:
        assert infer_grids([13, 25, 50], 400)(272) == [9, 17, 34]
        assert infer_grids([12, 25, 50], 400)(272) == [8, 17, 34]
        assert infer_grids([11, 25, 50], 400) is None


def test_unit_vectors() -> None:
    x = torch.tensor([[3., 4.], [0., 0.]], requires_grad=True)
    out = unit(x)
    torch.testing.assert_close(out, torch.tensor([[0.6, 0.8], [0., 0.]]), atol=1e-5, rtol=0)
    out.sum().backward()
    assert x.grad.isfinite().all()


def test_resizing_keeps_corners() -> None:
    x = torch.arange(4.).view(1, 1, 2, 2)
    assert resize_aligned(x, (3, 3))[0, 0].tolist() == [[0, .5, 1], [1, 1.5, 2], [2, 2.5, 3]]
    assert resize_aligned(x, (2, 2)) is x
    assert torch.equal(resize_aligned(x, (3, 3)), F.interpolate(x, (3, 3), mode='bilinear', align_corners=True))

import numpy as np
import pytest

from mmfss.visualization import draw_attributions, draw_outline, heat_colours, overlay_heat, scale_heat
from mmfss.visualization.attribution_panel import fit


def grey(height: int, width: int, value: int = 100) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def lightness(colours: np.ndarray) -> np.ndarray:
    return colours[..., :3].astype(float) @ (0.299, 0.587, 0.114)


class TestHeat:

    def test_sequential_scale_is_ordered_by_lightness(self) -> None:
        colours = heat_colours()
        assert colours.shape == (256, 4) and (colours[:, 3] == 255).all()
        assert (np.diff(lightness(colours[::8])) > 0).all()

    def test_signed_scale_is_clear_in_the_middle(self) -> None:
        colours = heat_colours(signed=True)
        assert colours[127:129, 3].max() < 15 and colours[[0, 255], 3].min() == 255
        assert colours[0, 2] > colours[0, 0] and colours[255, 0] > colours[255, 2]

    def test_scaled_jointly(self) -> None:
        maps = np.array([[[-1., 0.]], [[1., 3.]]])
        np.testing.assert_allclose(scale_heat(maps, clip=0), [[[0, 0.25]], [[0.5, 1]]])
        np.testing.assert_allclose(scale_heat(maps, neutral=0, clip=0), [[[1 / 3, 0.5]], [[2 / 3, 1]]], atol=1e-6)

    def test_few_huge_values_do_not_hide_the_rest(self) -> None:
        maps = np.linspace(0, 1, 1000)
        maps[-1] = 1000
        assert scale_heat(maps)[500] == pytest.approx(0.5, abs=0.01)
        assert scale_heat(maps, clip=0)[500] < 0.001
        assert scale_heat(np.eye(40))[3, 3] == 1 and scale_heat(np.eye(40)).sum() == 40

    @pytest.mark.parametrize('neutral, expected', [(None, 0), (2., 0.5)])
    def test_no_differences(self, neutral: float, expected: float) -> None:
        assert (scale_heat(np.full((2, 3), 2.), neutral) == expected).all()
        assert (scale_heat(np.full((2, 3), np.nan), neutral) == expected).all()
        assert scale_heat(np.array([2., 5., np.nan]), neutral).tolist() == [expected, 1, expected]

    def test_overlay(self) -> None:
        image, heat = grey(4, 6), np.array([[0., 1.]])
        result = overlay_heat(image, heat, alpha=1)
        assert result.shape == (4, 6, 3) and (image == 100).all()
        assert (result[:, 0] == heat_colours()[0, :3]).all() and (result[:, -1] == heat_colours()[255, :3]).all()
        assert (overlay_heat(image, heat, alpha=0) == 100).all()
        assert np.abs(overlay_heat(image, np.full((2, 2), 0.5), signed=True, alpha=1).astype(int) - 100).max() < 12

    def test_outline_of_a_large_picture_is_seen_when_it_is_reduced(self) -> None:
        mask = np.zeros((128, 256), dtype=bool)
        mask[40:90, 60:160] = True
        assert fit(draw_outline(grey(1024, 2048), mask), 208).max() > 160

    def test_outline_follows_the_mask(self) -> None:
        image, mask = grey(40, 60), np.zeros((20, 30), dtype=bool)
        mask[5:15, 10:20] = True
        result = draw_outline(image, mask, colour=(255, 0, 0))
        red = (result[..., 0] > 150) & (result[..., 1] < 80)
        assert red[20, 18:22].any() and red[8:12, 30].any() and (image == 100).all()
        assert (result[:6] == 100).all() and (result[16:24, 26:34] == 100).all()
        assert (draw_outline(image, np.zeros((20, 30))) == 100).all()


class TestPanel:

    @staticmethod
    def draw(ways: int, shots: int, side: int = 64, **kwargs) -> np.ndarray:
        rng = np.random.default_rng(0)
        labels = np.zeros((side, side), dtype=np.uint8)
        labels[side // 4:side // 2, side // 4:side // 2] = 1
        maps = {name: rng.random((ways, shots, side, side)) for name in ('signed_affex', 'random')}
        arguments = dict(
            query=grey(side, side), prediction=labels, region=np.repeat(labels[None] > 0, ways, 0),
            supports=[[grey(side, side)] * shots] * ways, support_masks=[[labels] * shots] * ways, attributions=maps,
            class_names=['dog', 'cat'][:ways], target=labels)
        return draw_attributions(**{**arguments, **kwargs})

    @pytest.mark.parametrize('ways, shots', [(1, 1), (1, 5), (2, 1), (2, 3)])
    @pytest.mark.parametrize('side', [64, 400])
    def test_layout(self, ways: int, shots: int, side: int) -> None:
        panel = self.draw(ways, shots, side)
        rows, captions = 1 + ways * shots, 1 + ways
        assert panel.dtype == np.uint8
        assert panel.shape[0] == rows * 248 + captions * 22 + 26 + 16
        assert panel.shape[1] >= 3 * 248 + 8

    def test_without_truth_and_region(self) -> None:
        panel = self.draw(1, 1, target=None, region=None, attributions={})
        assert panel.shape[0] == 2 * 270 + 42
        # The last tile of the first row is the second, white follows.
        assert (panel[40:200, 8 + 2 * 248:] == 255).all() and (panel[40:200, 260:480] != 255).any()

    def test_neutral_level_makes_a_map_signed(self) -> None:
        flat = {'signed_affex': np.full((1, 1, 64, 64), 0.3)}
        plain, signed = (self.draw(1, 1, attributions=flat, neutral=level) for level in (None, dict(signed_affex=[.3])))
        tile = np.s_[22 + 270 + 8 + 150:22 + 270 + 8 + 230, 270:480]
        assert lightness(plain[tile]).max() < 60 and np.abs(lightness(signed[tile]) - 100).max() < 12

    def test_shots_of_different_sizes(self) -> None:
        sizes = ((30, 60), (50, 40))
        images, masks = [grey(*size) for size in sizes], [np.eye(*size, dtype=np.uint8) for size in sizes]
        maps = dict(affex=[[np.full(size, value) for size, value in zip(sizes, (0., 1.))]])
        panel = self.draw(1, 2, supports=[images], support_masks=[masks], attributions=maps)
        # One scale for both shots: the first is dark all over, the second bright.
        top = 8 + 270 + 22
        assert np.median(lightness(panel[top + 10:top + 100, 270:480])) < 60
        assert np.median(lightness(panel[top + 140:top + 300, 230:330])) > 150

    def test_inputs_stay(self) -> None:
        maps = dict(a=np.random.default_rng(0).random((1, 1, 64, 64)))
        before = maps['a'].copy()
        self.draw(1, 1, attributions=maps)
        assert np.array_equal(maps['a'], before)

    def test_wrong_number_of_maps(self) -> None:
        with pytest.raises(ValueError, match=r'"lime" are for \[2\] supports per class, the episode has \[1\]'):
            self.draw(1, 1, attributions=dict(lime=np.zeros((1, 2, 64, 64))))

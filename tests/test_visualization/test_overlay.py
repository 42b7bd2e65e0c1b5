import numpy as np
import pytest

from mmfss.visualization import caption_image, class_palette, draw_episode, overlay_mask, tile_images


def grey(height: int, width: int, value: int = 100) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


class TestPalette:

    @pytest.mark.parametrize('number', [0, 1, 7, 30])
    def test_distinct_colours(self, number: int) -> None:
        palette = class_palette(number)
        assert palette.shape == (number + 1, 3) and palette.dtype == np.uint8
        assert len(np.unique(palette, axis=0)) == number + 1
        assert np.array_equal(palette, class_palette(40)[:number + 1])


class TestOverlay:

    def test_tint_contour_and_background(self) -> None:
        labels = np.zeros((7, 7), dtype=np.uint8)
        labels[1:6, 1:6] = 1
        result = overlay_mask(grey(7, 7), labels, alpha=0.5, contour_width=1)
        colour = class_palette(1)[1].astype(float)
        assert (result[0] == 100).all()
        assert (result[1, 1:6] == colour).all()
        assert (result[3, 3] == np.round(50 + colour / 2)).all()

    def test_contour_width(self) -> None:
        labels = np.zeros((9, 9), dtype=int)
        labels[:, :6] = 2
        result = overlay_mask(grey(9, 9), labels, contour_width=2)
        drawn = (result == class_palette(2)[2]).all(-1)
        assert drawn[:, 4:6].all() and drawn.sum() == 18

    def test_touching_classes_are_parted(self) -> None:
        labels = np.repeat([[1, 1, 1, 2, 2, 2]], 3, 0)
        result = overlay_mask(grey(3, 6), labels, contour_width=1)
        assert (result[:, 2] == class_palette(2)[1]).all() and (result[:, 3] == class_palette(2)[2]).all()
        assert (result[:, 0] != class_palette(2)[1]).any()

    def test_ignored_is_grey_and_inputs_stay(self) -> None:
        image, labels = grey(4, 4), np.full((4, 4), 255, dtype=np.uint8)
        result = overlay_mask(image, labels, alpha=0.5)
        assert (result == 150).all() and (image == 100).all() and (labels == 255).all()

    def test_size_mismatch(self) -> None:
        with pytest.raises(ValueError, match=r'\(4, 4\) and \(4, 5\)'):
            overlay_mask(grey(4, 4), np.zeros((4, 5)))


class TestPanel:

    def test_caption_is_one_line(self) -> None:
        assert (caption_image(grey(10, 60), 'a\nb ') == caption_image(grey(10, 60), 'a b')).all()

    def test_caption_is_cut_to_the_width(self) -> None:
        image = caption_image(grey(10, 60), 'a caption much wider than sixty pixels')
        assert image.shape[1] == 60 and image.shape[0] > 10
        assert (image[-10:] == 100).all() and (image[:-10] < 128).any() and (image[:-10, -3:] == 255).all()

    def test_tiles(self) -> None:
        canvas = tile_images([[grey(4, 6, 1), grey(5, 3, 2)], [grey(2, 2, 3)]], gap=1)
        assert canvas.shape == (10, 12, 3)
        assert (canvas[1:5, 1:7] == 1).all() and (canvas[1:6, 8:11] == 2).all() and (canvas[7:9, 1:3] == 3).all()
        assert (canvas == 255).sum() == 3 * (120 - 24 - 15 - 4)

    @pytest.mark.parametrize('ways, shots, tiles_high, tiles_wide', [(1, 1, 1, 3), (1, 2, 2, 2), (2, 3, 3, 3)])
    def test_layout(self, ways: int, shots: int, tiles_high: int, tiles_wide: int) -> None:
        supports = [[grey(64, 64)] * shots] * ways
        masks = [[np.eye(64)] * shots] * ways
        labels = np.eye(64, dtype=int)
        panel = draw_episode(grey(64, 64), labels, supports, masks, ['dog', 'cat'][:ways], labels)
        assert panel.shape == (tiles_high * (192 + 22 + 8) + 8, tiles_wide * (192 + 8) + 8, 3)

    def test_without_target(self) -> None:
        image, mask = grey(200, 300), np.ones((200, 300), dtype=int)
        panel = draw_episode(image, mask, [[image]], [[mask]], ['dog'])
        assert panel.shape == (200 + 22 + 16, 2 * 308 + 8, 3)

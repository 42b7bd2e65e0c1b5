"""Masks of one object in every format that users have: one meaning each."""
import io
import struct
import zlib
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
import pytest
from PIL import Image, features

from mmfss.datasets import ImageFolderIndex
from mmfss.datasets.masks import read_object_mask
from mmfss.utils import warn_once

SIZE = (96, 128)


@pytest.fixture(autouse=True)
def _no_warning_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warn_once, '_GIVEN', set())


@pytest.fixture(scope='module')
def truth() -> np.ndarray:
    """An ellipse and a small square, (H, W) uint8."""
    mask = np.zeros(SIZE, np.uint8)
    cv2.ellipse(mask, (50, 45), (30, 18), 25, 0, 360, 1, -1)
    mask[80:86, 100:106] = 1
    return mask


def palette_picture(indices: np.ndarray, colours: list[tuple[int, ...]]) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette(np.uint8(colours).tobytes())
    return picture


def save(picture: Any, path: Path, **options: Any) -> Path:
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


def once_compressed(mask: np.ndarray, kind: str = 'JPEG', **options: Any) -> np.ndarray:
    """A mask that was saved with loss and read again, as grey levels."""
    buffer = io.BytesIO()
    Image.fromarray(mask * 255).save(buffer, kind, **options)
    return np.asarray(Image.open(buffer).convert('L'))


class TestPalettes:

    @pytest.mark.parametrize('colours', [
        [(255, 255, 255), (0, 0, 0)], [(0, 0, 0), (255, 255, 255)], [(200, 0, 0), (0, 0, 0)],
        [(0, 0, 1), (0, 0, 0), (9, 9, 9)]])
    def test_colours_decide_whatever_their_order(self, tmp_path: Path, truth: np.ndarray, colours: list) -> None:
        index = truth if colours[0] == (0, 0, 0) else 1 - truth
        path = save(palette_picture(index, colours), tmp_path / 'm.png')
        assert np.array_equal(read_object_mask(path), truth)

    @pytest.mark.parametrize('transparency', [1, b'\xff\x00'])
    def test_transparent_entry(self, tmp_path: Path, truth: np.ndarray, transparency: Any) -> None:
        path = save(palette_picture(1 - truth, [(255, 0, 0), (0, 255, 0)]), tmp_path / 'm.png',
                    transparency=transparency)
        assert np.array_equal(read_object_mask(path), truth)

    def test_label_maps_stay_as_they_are(self, tmp_path: Path, truth: np.ndarray) -> None:
        # The colours of VOC: 0 is black, 255 the ignored border; a thin border is no compression noise.
        colours = [tuple(sum(((number >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3))
                         for channel in range(3)) for number in range(256)]
        labels = truth * 15
        border = (cv2.dilate(truth, np.ones((3, 3))) > 0) & (truth == 0)
        labels[border] = 255
        labels[80:83, 100:103] = 7
        path = save(palette_picture(labels, colours), tmp_path / 'm.png')
        assert np.array_equal(read_object_mask(path), labels > 0)
        expected = np.where(border, 255, truth)
        assert np.array_equal(read_object_mask(path, ignore_value=255), expected)

    def test_ignore_value_is_a_grey_level_of_a_grey_palette(self, tmp_path: Path, truth: np.ndarray) -> None:
        indices = np.where(truth, 0, 1)
        indices[:5] = 2
        path = save(palette_picture(indices, [(255, ) * 3, (0, ) * 3, (128, ) * 3]), tmp_path / 'm.png')
        expected = truth.copy()
        expected[:5] = 255
        assert np.array_equal(read_object_mask(path, ignore_value=128), expected)

    def test_palette_that_says_nothing(self, tmp_path: Path, truth: np.ndarray) -> None:
        path = save(palette_picture(truth, [(0, 0, 0)] * 256), tmp_path / 'm.png')
        assert np.array_equal(read_object_mask(path), truth)

    @pytest.mark.parametrize('colours, message', [
        ([(128, 64, 128), (70, 70, 70), (220, 20, 60)], r'entry 0 is \(128, 64, 128\).*0 is background'),
        ([(0, 0, 0), (0, 0, 0), (220, 20, 60)], 'entries 0, 1 in black')])
    def test_two_meanings_are_refused(self, tmp_path: Path, truth: np.ndarray, colours: list, message: str) -> None:
        indices = truth.copy()
        indices[80:] *= 2
        path = save(palette_picture(indices, colours), tmp_path / 'm.png')
        with pytest.raises(ValueError, match=f'm.png has .*{message}.* Save it as a PNG'):
            read_object_mask(path)


class TestLossyFormats:

    @pytest.mark.parametrize('suffix, options', [
        ('jpg', {}), ('jpg', dict(quality=30)), ('webp', {}), ('webp', dict(quality=20)), ('avif', {}),
        ('jp2', dict(irreversible=True, quality_mode='rates', quality_layers=[30]))])
    def test_are_cut_at_half(self, tmp_path: Path, truth: np.ndarray, suffix: str, options: dict) -> None:
        needed = dict(webp='webp', avif='avif', jp2='jpg_2000').get(suffix, 'jpg')
        if not features.check(needed):
            pytest.skip(f'Pillow is built without {needed}.')
        path = save(truth * 255, tmp_path / f'm.{suffix}', **options)
        found = read_object_mask(path)
        assert (found != truth).mean() < 0.004
        assert np.array_equal(read_object_mask(path.rename(tmp_path / 'm.png')), found)  # the content tells

    @pytest.mark.parametrize('colour', [(200, 0, 0), (0, 0, 255)])
    def test_colours(self, tmp_path: Path, truth: np.ndarray, colour: tuple) -> None:
        path = save(truth[..., None] * np.uint8(colour), tmp_path / 'm.jpg', quality=90)
        assert (read_object_mask(path) != truth).mean() < 0.02

    def test_lossless_webp_keeps_numbers(self, tmp_path: Path, truth: np.ndarray) -> None:
        path = save(np.repeat(truth[..., None] * 3, 3, axis=2), tmp_path / 'm.webp', lossless=True)
        assert np.array_equal(read_object_mask(path), truth)

    def test_tiff_with_jpeg_inside(self, tmp_path: Path, truth: np.ndarray) -> None:
        path = save(truth * 255, tmp_path / 'm.tif', compression='jpeg')
        assert (read_object_mask(path) != truth).mean() < 0.004

    def test_numbers_are_refused(self, tmp_path: Path, truth: np.ndarray) -> None:
        path = save(truth * 5, tmp_path / 'm.jpg')
        with pytest.raises(ValueError, match='m.jpg is a lossy picture .* class numbers do not outlive'):
            read_object_mask(path)
        path = save(truth * 255, tmp_path / 'n.jpg')
        with pytest.raises(ValueError, match='n.jpg is a lossy JPEG, .* ignore_value=255'):
            read_object_mask(path, ignore_value=255)

    def test_black_is_empty(self, tmp_path: Path) -> None:
        assert not read_object_mask(save(np.zeros(SIZE, np.uint8), tmp_path / 'm.jpg')).any()

    def test_photograph(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).normal(128, 30, (*SIZE, 3)).clip(0, 255).astype(np.uint8)
        for name in ('m.jpg', 'm.png'):
            with pytest.raises(ValueError, match='mostly grey, like a photograph'):
                read_object_mask(save(noise, tmp_path / name))


class TestGreyLevels:

    @pytest.mark.parametrize('kind, options', [
        ('JPEG', {}), ('JPEG', dict(quality=20)), ('JPEG', dict(quality=95)), ('WEBP', {}), ('WEBP', dict(quality=30))])
    @pytest.mark.parametrize('channels', ['L', 'RGB', 'P', 'RGBA', '16 bits'])
    def test_png_that_was_compressed_before(self, tmp_path: Path, truth: np.ndarray, kind: str, options: dict,
                                            channels: str) -> None:
        levels = once_compressed(truth, kind, **options)
        picture = levels.astype(np.uint16) * 257 if channels == '16 bits' else Image.fromarray(levels).convert(channels)
        path = save(picture, tmp_path / 'm.png')
        assert ((levels > 0) != truth).sum() > 20  # what counts if nothing is cut
        with pytest.warns(UserWarning, match='m.png has grey levels between black and white'):
            found = read_object_mask(path)
        assert np.array_equal(found, levels >= 128)

    @pytest.mark.parametrize('soften', [
        lambda mask: cv2.GaussianBlur(mask, (0, 0), 1.5), lambda mask: cv2.resize(mask, None, fx=1.7, fy=1.7),
        lambda mask: cv2.resize(mask, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)])
    def test_soft_edges(self, tmp_path: Path, truth: np.ndarray, soften: Any) -> None:
        levels = soften(truth * 255)
        with pytest.warns(UserWarning, match='at least half white'):
            assert np.array_equal(read_object_mask(save(levels, tmp_path / 'm.png')), levels >= 128)

    @pytest.mark.filterwarnings('error')
    @pytest.mark.parametrize('factors', [(1, 1), (100, 200), (1, 255), (128, 255), (17, 18), (254, 253)])
    @pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32])
    def test_numbers(self, tmp_path: Path, truth: np.ndarray, factors: tuple[int, int], dtype: Any) -> None:
        numbers = truth.astype(dtype) * factors[0]
        numbers[80:] = truth[80:].astype(dtype) * factors[1]
        path = save(numbers, tmp_path / ('m.tif' if dtype == np.int32 else 'm.png'))
        assert np.array_equal(read_object_mask(path), truth)

    @pytest.mark.filterwarnings('error')
    def test_many_numbers(self, tmp_path: Path) -> None:
        cells = np.arange(1, 251, dtype=np.uint8).reshape(10, 25).repeat(8, 0).repeat(6, 1)
        cells[::8] = cells[:, ::6] = 0
        assert np.array_equal(read_object_mask(save(cells, tmp_path / 'm.png')), cells > 0)
        wide = cells.astype(np.uint16) * 250
        assert np.array_equal(read_object_mask(save(wide, tmp_path / 'm.png')), cells > 0)

    @pytest.mark.filterwarnings('error')
    def test_ignore_value_means_numbers(self, tmp_path: Path, truth: np.ndarray) -> None:
        labels = truth * 255
        labels[50, ::7], labels[51, ::5] = 3, 201  # single pixels, which look like noise
        expected = np.where(labels == 255, 255, labels > 0)
        assert np.array_equal(read_object_mask(save(labels, tmp_path / 'm.png'), ignore_value=255), expected)

    def test_hardly_a_white_pixel(self, tmp_path: Path) -> None:
        ramp = np.zeros(SIZE, np.uint8)
        ramp[:40, :] = np.arange(128) + 60
        with pytest.raises(ValueError, match='m.png has many grey levels, but hardly a white pixel'):
            read_object_mask(save(ramp, tmp_path / 'm.png'))


class TestOtherKinds:

    @pytest.mark.parametrize('suffix', ['png', 'tif', 'bmp', 'gif'])
    def test_one_bit(self, tmp_path: Path, truth: np.ndarray, suffix: str) -> None:
        assert np.array_equal(read_object_mask(save(truth.astype(bool), tmp_path / f'm.{suffix}')), truth)

    @pytest.mark.parametrize('colour', [(1, 0, 0), (0, 0, 7), (200, 0, 0), (3, 3, 3), (255, 255, 255)])
    def test_colours_and_numbers_in_a_channel(self, tmp_path: Path, truth: np.ndarray, colour: tuple) -> None:
        assert np.array_equal(read_object_mask(save(truth[..., None] * np.uint8(colour), tmp_path / 'm.png')), truth)

    def test_ignored_number_in_a_channel(self, tmp_path: Path, truth: np.ndarray) -> None:
        red = np.zeros((*SIZE, 3), np.uint8)
        red[..., 0] = truth * 4
        red[:9, :, 0] = 9
        expected = truth.copy()
        expected[:9] = 255
        assert np.array_equal(read_object_mask(save(red, tmp_path / 'm.png'), ignore_value=9), expected)
        drawn = truth[..., None] * np.uint8([9, 0, 200])  # a colour is no number
        drawn[:9] = 9
        assert np.array_equal(read_object_mask(save(drawn, tmp_path / 'm.png'), ignore_value=9), expected)

    @pytest.mark.parametrize('mode', ['RGBA', 'LA'])
    def test_alpha(self, tmp_path: Path, truth: np.ndarray, mode: str) -> None:
        channels = np.full((*SIZE, len(mode)), 255, np.uint8)
        channels[..., -1] = truth * 90
        assert np.array_equal(read_object_mask(save(channels, tmp_path / 'm.png')), truth)
        channels[..., -1] = once_compressed(truth)  # a soft brush
        with pytest.warns(UserWarning, match='at least half white'):
            found = read_object_mask(save(channels, tmp_path / 'm.png'))
        assert (found != truth).mean() < 0.004
        channels[..., :-1], channels[..., -1] = 0, truth * 255
        with pytest.raises(ValueError, match='m.png is black on a transparent ground'):
            read_object_mask(save(channels, tmp_path / 'm.png'))

    @pytest.mark.parametrize('mode, transparency', [('L', 200), ('RGB', (200, 200, 200)), ('I;16', 200)])
    def test_transparent_colour(self, tmp_path: Path, truth: np.ndarray, mode: str, transparency: Any) -> None:
        levels = np.where(truth, 7, 200)
        picture = levels.astype(np.uint16) if mode == 'I;16' else Image.fromarray(levels.astype(np.uint8)).convert(mode)
        path = save(picture, tmp_path / 'm.png', transparency=transparency)
        assert np.array_equal(read_object_mask(path), truth)

    @pytest.mark.parametrize('values', [[0, 1], [0, 255], [0.1, 0.5], [0.2, 0.9], [0, 3]])
    def test_fractions(self, tmp_path: Path, truth: np.ndarray, values: list) -> None:
        assert np.array_equal(read_object_mask(save(np.float32(values)[truth], tmp_path / 'm.tif')), truth)

    @pytest.mark.parametrize('values, message', [
        ([0, 1.5], 'fractions that are no'), ([-1, 1], 'negative numbers'), ([0, np.nan], 'fractions that are no')])
    def test_fractions_without_meaning(self, tmp_path: Path, truth: np.ndarray, values: list, message: str) -> None:
        with pytest.raises(ValueError, match=f'm.tif holds {message}'):
            read_object_mask(save(np.float32(values)[truth], tmp_path / 'm.tif'))

    def test_cmyk(self, tmp_path: Path, truth: np.ndarray) -> None:
        inks = np.zeros((*SIZE, 4), np.uint8)
        inks[..., 3] = (1 - truth) * 255  # black ink is black
        picture = Image.frombytes('CMYK', SIZE[::-1], inks.tobytes())
        assert np.array_equal(read_object_mask(save(picture, tmp_path / 'm.tif')), truth)

    @pytest.mark.parametrize('value', [7, 65535])
    @pytest.mark.parametrize('channels', [3, 4])
    @pytest.mark.parametrize('suffix', ['png', 'tiff'])
    def test_sixteen_bits_per_channel(self, tmp_path: Path, truth: np.ndarray, value: int, channels: int,
                                      suffix: str) -> None:
        deep = np.full((*SIZE, channels), 65535, np.uint16)
        deep[..., :3] = truth[..., None].astype(np.uint16) * value
        cv2.imwrite(str(tmp_path / f'm.{suffix}'), deep)
        assert np.array_equal(read_object_mask(tmp_path / f'm.{suffix}'), truth)

    @pytest.mark.parametrize('suffix', ['tif', 'gif', 'png', 'webp'])
    def test_several_pictures(self, tmp_path: Path, truth: np.ndarray, suffix: str) -> None:
        first, second = (Image.fromarray(part * 255) for part in (truth, 1 - truth))
        path = save(first, tmp_path / f'm.{suffix}', save_all=True, append_images=[second])
        with pytest.raises(ValueError, match=f'm.{suffix} holds 2 pictures of one size'):
            read_object_mask(path)

    def test_unknown_mode(self, tmp_path: Path) -> None:
        path = save(Image.new('LAB', (8, 8)), tmp_path / 'm.tif')
        with pytest.raises(ValueError, match='m.tif is a picture of mode LAB, which has no stated meaning'):
            read_object_mask(path)

    @pytest.mark.parametrize('mode', ['L', 'P', 'RGB', 'RGBA', '1'])
    def test_damaged(self, tmp_path: Path, truth: np.ndarray, mode: str) -> None:
        path = save(Image.fromarray(truth * 255).convert(mode), tmp_path / 'm.png')
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(ValueError, match='m.png is corrupt or incomplete'):
            read_object_mask(path)

    def test_damaged_deep_colour(self, tmp_path: Path) -> None:
        header = b'IHDR' + struct.pack('>IIBBBBB', 8, 8, 16, 2, 0, 0, 0)
        chunk = struct.pack('>I', 13) + header + struct.pack('>I', zlib.crc32(header))
        (tmp_path / 'm.png').write_bytes(b'\x89PNG\r\n\x1a\n' + chunk + struct.pack('>I', 0) + b'IEND\xae\x42\x60\x82')
        with pytest.raises(ValueError, match='m.png is (corrupt|not an image)'):
            read_object_mask(tmp_path / 'm.png')


class TestOwnFolder:
    """The same reader serves folders of class folders."""

    def write(self, root: Path, mask: Any, suffix: str, **options: Any) -> ImageFolderIndex:
        for folder in ('images', 'masks'):
            (root / 'cat' / folder).mkdir(parents=True)
        save(np.zeros((*SIZE, 3), np.uint8), root / 'cat' / 'images' / 'a.png')
        save(mask, root / 'cat' / 'masks' / f'a.{suffix}', **options)
        return ImageFolderIndex(str(root))

    @pytest.mark.parametrize('suffix', ['png', 'jpg', 'webp', 'gif'])
    def test_formats(self, tmp_path: Path, truth: np.ndarray, suffix: str) -> None:
        picture: Any = truth * 255
        if suffix == 'png':
            picture = palette_picture(1 - truth, [(255, 255, 255), (0, 0, 0)])
        index = self.write(tmp_path, picture, suffix)
        found = index.load_class_mask('cat/images/a.png', 0)
        assert (found != truth).mean() < 0.004
        assert index.class_pixels('cat/images/a.png') == {0: int(found.sum())}

    def test_preview_beside_the_mask(self, tmp_path: Path, truth: np.ndarray) -> None:
        index = self.write(tmp_path, truth, 'png')
        save(truth * 99, tmp_path / 'cat' / 'masks' / 'a.jpg')
        again = ImageFolderIndex(str(tmp_path))
        assert again.mask_path('cat/images/a.png', 0) == index.mask_path('cat/images/a.png', 0)


@pytest.mark.parametrize('max_pixels', [None, 100])
def test_size_limit(tmp_path: Path, truth: np.ndarray, monkeypatch: pytest.MonkeyPatch,
                    max_pixels: Optional[int]) -> None:
    path = save(truth, tmp_path / 'm.png')
    if max_pixels is None:
        monkeypatch.setenv('MMFSS_MAX_PIXELS', '100')
    with pytest.raises(ValueError, match='m.png has 128 x 96 pixels, more than the limit of 100. .* raise the limit'):
        read_object_mask(path, max_pixels=max_pixels)

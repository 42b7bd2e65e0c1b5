import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from mmfss.datasets.images import checked_bytes, read_grey, read_image, read_label_map
from mmfss.datasets.masks import read_object_mask
from tests.test_datasets.layouts import save_image


def test_bgr_and_pillow_decoding(tmp_path):
    path = tmp_path / 'a.jpg'
    save_image(path, 3)
    np.testing.assert_array_equal(read_image(path)[..., ::-1], np.asarray(Image.open(path)))


@pytest.mark.parametrize('mode', ['L', 'LA', 'P', 'RGBA', '1', 'CMYK'])
def test_any_mode_becomes_three_channels(tmp_path, mode):
    path = tmp_path / ('a.tif' if mode == 'CMYK' else 'a.png')
    Image.new('RGB', (7, 5), (10, 200, 30)).convert(mode).save(path)
    assert read_image(path).shape == (5, 7, 3)


def test_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new('RGB', (8, 4)).save(tmp_path / 'a.jpg', exif=exif)
    assert read_image(tmp_path / 'a.jpg').shape == (4, 8, 3)
    assert read_image(tmp_path / 'a.jpg', 'color').shape == (8, 4, 3)


def test_truncated_jpeg(tmp_path):
    path = tmp_path / 'broken.jpg'
    save_image(path, 0, (64, 64))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ValueError, match='broken.jpg is corrupt or incomplete'):
        read_image(path)


def test_not_an_image(tmp_path):
    (tmp_path / 'text.jpg').write_text('hello')
    with pytest.raises(ValueError, match='text.jpg is not an image'):
        read_image(tmp_path / 'text.jpg')


def test_header_that_claims_a_huge_size_is_refused_before_decoding(tmp_path):
    header = b'IHDR' + struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack('>I', 13) + header + struct.pack('>I', zlib.crc32(header))
    data = b'IDAT' + zlib.compress(b'0')
    body = struct.pack('>I', len(data) - 4) + data + struct.pack('>I', zlib.crc32(data))
    (tmp_path / 'bomb.png').write_bytes(b'\x89PNG\r\n\x1a\n' + chunk + body)
    with pytest.raises(ValueError, match='bomb.png.*exceeds limit'):
        read_image(tmp_path / 'bomb.png')


def test_size_limit(tmp_path, monkeypatch):
    save_image(tmp_path / 'a.jpg', 0)
    monkeypatch.setattr('mmfss.datasets.images.MAX_PIXELS', 719)
    with pytest.raises(ValueError, match='a.jpg has 30 x 24 pixels, more than the limit of 719'):
        read_image(tmp_path / 'a.jpg')


@pytest.mark.parametrize('content, reason', [(b'', 'it is empty'), (b'hello', 'no format that Pillow knows')])
def test_messages_name_the_file_only(tmp_path, content, reason):
    (tmp_path / 'a.jpg').write_bytes(content)
    for read in (read_image, read_label_map, read_grey, read_object_mask, checked_bytes):
        with pytest.raises(ValueError, match=f'a.jpg is not an image that Pillow can read: .*{reason}') as error:
            read(tmp_path / 'a.jpg')
        assert 'BytesIO' not in str(error.value)


def test_size_limit_can_be_raised(tmp_path, monkeypatch):
    monkeypatch.setattr('mmfss.datasets.images.MAX_PIXELS', 100)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    save_image(tmp_path / 'a.jpg', 0)
    with pytest.raises(ValueError, match='a.jpg is too large: .*exceeds limit of 200 pixels.* MMFSS_MAX_PIXELS'):
        read_image(tmp_path / 'a.jpg')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert read_image(tmp_path / 'a.jpg', max_pixels=720).shape == (24, 30, 3)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    monkeypatch.setenv('MMFSS_MAX_PIXELS', '720')
    assert read_image(tmp_path / 'a.jpg').shape == (24, 30, 3)
    assert Image.MAX_IMAGE_PIXELS == 720


@pytest.mark.parametrize('limit', ['0', '-3', 'many', '1e9'])
def test_wrong_size_limit(tmp_path, monkeypatch, limit):
    save_image(tmp_path / 'a.jpg', 0)
    monkeypatch.setenv('MMFSS_MAX_PIXELS', limit)
    with pytest.raises(ValueError, match='MMFSS_MAX_PIXELS must be a whole number of pixels above 0'):
        read_image(tmp_path / 'a.jpg')


def test_colour_picture_is_no_label_map(tmp_path):
    Image.new('RGB', (4, 4)).save(tmp_path / 'm.png')
    with pytest.raises(ValueError, match='m.png is a picture of mode RGB'):
        read_label_map(tmp_path / 'm.png')


def test_sixteen_bit_mask(tmp_path):
    Image.fromarray(np.full((3, 4), 7, np.uint16)).save(tmp_path / 'm.png')
    assert (read_label_map(tmp_path / 'm.png') == 7).all()
    Image.fromarray(np.full((3, 4), 300, np.uint16)).save(tmp_path / 'n.png')
    with pytest.raises(ValueError, match='n.png holds values outside'):
        read_label_map(tmp_path / 'n.png')


@pytest.mark.parametrize('dtype', [np.uint16, np.int32, np.float32])
def test_deep_grey_levels_are_not_cut_off(tmp_path, dtype):
    Image.fromarray(np.full((3, 4), 300, dtype)).save(tmp_path / 'deep.tif')
    with pytest.raises(ValueError, match='deep.tif has grey levels of more than 8 bits .* Convert it to 8 bits'):
        read_image(tmp_path / 'deep.tif')


@pytest.mark.parametrize('mode', ['RGBA', 'LA'])
def test_transparent_pixels_of_a_drawn_mask_are_background(tmp_path, mode):
    channels = np.full((3, 4, len(mode)), 255, np.uint8)
    channels[0, :, -1], channels[1, :, -1] = 0, 90
    Image.fromarray(channels).save(tmp_path / 'm.png')
    assert read_object_mask(tmp_path / 'm.png').tolist() == [[0] * 4] + [[1] * 4] * 2

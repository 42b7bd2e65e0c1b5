import io
import json
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from mmfss.apis.uploads import UploadLimits, read_mask_of, read_picture, upright_size
from tests.tiny.app import RED, picture

IMAGE, MASK = picture(RED)


def encode(array: np.ndarray, kind: str = 'PNG', **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=kind, **options)
    return buffer.getvalue()


def huge_png(side: int = 10_000) -> bytes:
    """A PNG of 100 megapixels, which is small as a file."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, 'big') + kind + data + zlib.crc32(kind + data).to_bytes(4, 'big')
    compressor = zlib.compressobj(1)
    row = bytes(1 + side // 8)
    data = b''.join(compressor.compress(row) for _ in range(side)) + compressor.flush()
    header = side.to_bytes(4, 'big') * 2 + bytes([1, 0, 0, 0, 0])
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', data) + chunk(b'IEND', b'')


def test_pictures_are_rgb_and_upright() -> None:
    assert np.array_equal(read_picture(encode(IMAGE), 'a.png'), IMAGE)
    turned = Image.Exif()
    turned[0x0112] = 6
    stored = encode(np.ascontiguousarray(np.rot90(IMAGE)), 'PNG', exif=turned)
    assert np.array_equal(read_picture(stored, 'a.png'), IMAGE) and upright_size(stored, 'a.png') == IMAGE.shape[:2]
    assert read_mask_of(encode(MASK * 255), 'm.png', stored).sum() == MASK.sum()


def test_large_pictures_are_reduced_with_their_masks() -> None:
    limits = UploadLimits(side=48)
    content = encode(IMAGE)
    assert read_picture(content, 'a.png', limits).shape == (32, 48, 3)
    mask = read_mask_of(encode(MASK * 255), 'm.png', content, limits)
    assert mask.shape == (32, 48) and set(np.unique(mask)) == {0, 1} and abs(mask.sum() * 4 - MASK.sum()) < 100


def test_labelme_files_are_masks() -> None:
    shape = dict(label='cup', shape_type='rectangle', points=[[20, 15], [59, 44]])
    content = json.dumps(dict(shapes=[shape], imageHeight=64, imageWidth=96)).encode()
    assert read_mask_of(content, 'a.json', encode(IMAGE)).sum() > 1000


def test_a_huge_picture_is_refused_by_its_header() -> None:
    content = huge_png()
    assert len(content) < 1e6
    tracemalloc.start()
    with pytest.raises(ValueError, match='huge.png has 10000 x 10000 pixels, more than the limit of 50 million'):
        read_picture(content, 'huge.png')
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize('content, name, message', [
    (b'no picture', 'text.jpg', 'text.jpg is not an image'), (b'', 'empty.png', 'empty.png is not an image'),
    (encode(IMAGE)[:200], 'half.png', 'half.png is corrupt'), (b'0' * 30_000_000, 'big.png', '30.0 MB, more than')])
def test_wrong_files_are_named(content: bytes, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_picture(content, name)
    assert 'mmfss-' not in str(error.value) and 'MMFSS_MAX_PIXELS' not in str(error.value)


def test_wrong_masks_are_explained() -> None:
    content = encode(IMAGE)
    with pytest.raises(ValueError, match='The mask m.png has 30 x 20 pixels, but its picture has 96 x 64'):
        read_mask_of(encode(np.ones((20, 30), np.uint8)), 'm.png', content)
    with pytest.raises(ValueError, match='m.png is empty'):
        read_mask_of(encode(np.zeros((64, 96), np.uint8)), 'm.png', content)

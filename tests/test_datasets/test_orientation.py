"""Pictures and masks with an EXIF orientation, in every reader of user files."""
import json
import struct
import warnings
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
from mmcv.transforms import Compose, LoadImageFromFile
from mmengine.dataset import pseudo_collate
from PIL import Image, ImageOps

from mmfss.datasets import ImageFolderDataset
from mmfss.datasets.images import read_image
from mmfss.datasets.masks import read_object_mask
from mmfss.datasets.orientation import check_tags, loads_upright, turn_upright
from mmfss.explanation.episodes.study import _plain_info
from mmfss.prototypes.sources import PrototypeSources
from mmfss.structures import Episode
from mmfss.utils import warn_once
from mmfss.visualization.pages.pictures import read_picture
from tests.tiny.data import PIPELINE

ORIENTATION = 0x0112
TAGS = range(1, 9)
SIZE = (24, 40)


@pytest.fixture(autouse=True)
def _no_warning_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warn_once, '_GIVEN', set())


def upright_picture(size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)


def upright_mask(size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[2:6, 3:15] = 1
    return mask


def stored(array: np.ndarray, tag: Optional[int]) -> np.ndarray:
    """What a camera stores for an upright picture: the inverse of what the tag says."""
    return turn_upright(array, {6: 8, 8: 6}.get(tag, tag))


def save(array: np.ndarray, path: Path, tag: Optional[int] = None) -> Path:
    """Write an upright picture turned, with its tag."""
    options = {}
    if tag is not None:
        options['exif'] = Image.Exif()
        options['exif'][ORIENTATION] = tag
    Image.fromarray(stored(array, tag)).save(path, **options)
    return path


def faulty_exif(path: Path) -> Path:
    """A good JPEG, to be turned by 90 degrees, whose EXIF data make Pillow's exif_transpose raise: a negative width."""
    entries = struct.pack('<HHLHH', ORIENTATION, 3, 1, 6, 0) + struct.pack('<HHLl', 0x0100, 9, 1, -5)
    exif = b'Exif\0\0II*\0' + struct.pack('<LH', 8, 2) + entries + struct.pack('<L', 0)
    Image.fromarray(stored(upright_picture(), 6)).save(path, exif=exif)
    with pytest.raises(struct.error), Image.open(path) as image:
        ImageOps.exif_transpose(image)
    return path


class TestTurning:

    @pytest.mark.parametrize('tag', TAGS)
    def test_equals_pillow(self, tmp_path: Path, tag: int) -> None:
        path = save(upright_picture(), tmp_path / 'a.png', tag)
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        assert np.array_equal(expected, upright_picture())
        assert np.array_equal(read_image(path, 'color')[..., ::-1], expected)
        assert np.array_equal(read_image(path)[..., ::-1], stored(upright_picture(), tag))

    @pytest.mark.parametrize('tag', TAGS)
    @pytest.mark.parametrize('suffix', ['png', 'tif', 'webp', 'jpg'])
    def test_masks_by_their_own_tag(self, tmp_path: Path, tag: int, suffix: str) -> None:
        mask = np.kron(upright_mask(), np.ones((8, 8), np.uint8))
        path = save(mask * 255, tmp_path / f'm.{suffix}', tag)
        assert np.array_equal(read_object_mask(path), mask)
        assert np.array_equal(read_object_mask(path, upright=True), mask)
        if suffix != 'tif':  # Pillow always turns those
            assert np.array_equal(read_object_mask(path, upright=False), stored(mask, tag))

    def test_tag_without_meaning(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[ORIENTATION] = 9
        Image.fromarray(upright_picture()).save(tmp_path / 'a.png', exif=exif)
        assert np.array_equal(read_image(tmp_path / 'a.png', 'color')[..., ::-1], upright_picture())

    def test_faulty_exif_costs_no_picture(self, tmp_path: Path) -> None:
        path = faulty_exif(tmp_path / 'a.jpg')
        assert np.array_equal(read_image(path, 'color'), turn_upright(read_image(path), 6))
        save(upright_mask() * 255, tmp_path / 'm.png')
        assert np.array_equal(read_object_mask(tmp_path / 'm.png', image=path), upright_mask())

    @pytest.mark.parametrize('exif', [b'Exif\0\0XX*\0', b'Exif\0\0II', b'Exif\0\0II*\0\x08\0\0\0\xff\xff', b'Exif\0\0'])
    def test_damaged_exif_counts_as_none(self, tmp_path: Path, exif: bytes) -> None:
        Image.fromarray(upright_picture()).save(tmp_path / 'a.jpg', exif=exif)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            assert np.array_equal(read_image(tmp_path / 'a.jpg', 'color'), read_image(tmp_path / 'a.jpg'))

    def test_exif_that_cannot_be_read_is_one_warning(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        paths = [save(upright_picture(), tmp_path / name, 6) for name in ('a.jpg', 'b.jpg')]

        def fail(image: Image.Image) -> None:
            raise struct.error('argument out of range')

        monkeypatch.setattr(Image.Image, 'getexif', fail)
        with pytest.warns(UserWarning, match='The EXIF data of .*a.jpg cannot be read .error: argument') as given:
            for path in paths:
                assert np.array_equal(read_image(path, 'color'), read_image(path))
        assert len(given) == 1


class TestAgreement:
    """Pairs of which only the tags tell that they disagree."""

    @pytest.mark.parametrize('image, mask, square, error', [
        (None, None, True, False), (1, None, True, False), (None, 1, True, False), (1, 1, True, False),
        (3, 3, False, False), (6, 6, True, False), (3, 1, False, False), (6, 8, True, False),
        (2, None, False, True), (3, None, False, True), (4, None, False, True), (None, 3, False, True),
        (1, 3, False, False), (5, None, True, True), (6, None, True, True), (7, None, True, True),
        (None, 8, True, True), (5, None, False, False), (6, None, False, False), (8, None, False, False)])
    def test_table(self, image: Optional[int], mask: Optional[int], square: bool, error: bool) -> None:
        if error:
            with pytest.raises(ValueError, match='has the EXIF orientation .* has none, .*upright=True .*=False'):
                check_tags(image, mask, square, None, 'The image a', 'the mask m')
        else:
            check_tags(image, mask, square, None, 'The image a', 'the mask m')
        check_tags(image, mask, square, True, 'The image a', 'the mask m')  # the user says so
        if None in (image, mask) or image == mask:
            check_tags(image, mask, square, False, 'The image a', 'the mask m')
        else:
            with pytest.raises(ValueError, match='as stored they do not fit. Use upright=True'):
                check_tags(image, mask, square, False, 'The image a', 'the mask m')

    @pytest.mark.parametrize('size, tag', [(SIZE, 3), (SIZE, 2), ((24, 24), 6)])
    def test_files(self, tmp_path: Path, size: tuple[int, int], tag: int) -> None:
        image = save(upright_picture(size), tmp_path / 'a.jpg', tag)
        drawn_upright = save(upright_mask(size), tmp_path / 'm.png')
        with pytest.raises(ValueError, match=f'a.jpg has the EXIF orientation {tag} .*m.png has none'):
            read_object_mask(drawn_upright, image=image)
        assert np.array_equal(read_object_mask(drawn_upright, upright=True, image=image), upright_mask(size))
        assert np.array_equal(read_object_mask(drawn_upright, upright=False, image=image), upright_mask(size))
        with_tag = save(upright_mask(size), tmp_path / 't.png', tag)
        assert np.array_equal(read_object_mask(with_tag, image=image), upright_mask(size))


class TestOwnFolder:

    def write(self, root: Path, image_tag: Optional[int], mask: np.ndarray) -> Path:
        for folder in ('images', 'masks'):
            (root / 'cat' / folder).mkdir(parents=True)
        for number in range(2):
            save(upright_picture(), root / 'cat' / 'images' / f'{number}.png', image_tag)
            save(mask, root / 'cat' / 'masks' / f'{number}.png')
        return root

    def dataset(self, root: Path, color_type: Optional[str] = None, **options: Any) -> ImageFolderDataset:
        loading = [dict(type='LoadEpisodeImage', color_type=color_type), *PIPELINE[0]['transforms'][1:]]
        pipeline = [dict(type='ForEachImage', transforms=loading), PIPELINE[1]]
        return ImageFolderDataset(str(root), pipeline, fold=None, num_folds=1, num_episodes=1, **options)

    @pytest.mark.parametrize('tag', [None, 5, 6, 7, 8])
    @pytest.mark.parametrize('color_type', [None, 'color'])
    def test_is_upright_whatever_the_pipeline(self, tmp_path: Path, tag: Optional[int],
                                              color_type: Optional[str]) -> None:
        sample = self.dataset(self.write(tmp_path, tag, upright_mask()), color_type)[0]['data_samples']
        assert sample.ori_shape == SIZE and sample.upright is True
        assert np.array_equal(sample.gt_sem_seg_ori.data[0].numpy(), upright_mask())

    def test_as_stored(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, 6, stored(upright_mask(), 6))
        sample = self.dataset(root, upright=False)[0]['data_samples']
        assert sample.ori_shape == SIZE[::-1] and sample.upright is False
        with pytest.raises(ValueError, match='drawn on the image as it is stored: set upright=False in the dataset'):
            self.dataset(root)[0]

    def test_drawn_on_the_upright_view_but_read_as_stored(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match='drawn on the upright image: set upright=True in the dataset'):
            self.dataset(self.write(tmp_path, 6, upright_mask()), upright=False)[0]

    def test_only_the_tags_tell(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, 3, upright_mask())
        with pytest.raises(ValueError, match='has the EXIF orientation 3'):
            self.dataset(root)[0]
        sample = self.dataset(root, upright=True)[0]
        assert np.array_equal(sample['data_samples'].gt_sem_seg_ori.data[0].numpy(), upright_mask())

    def test_contradiction(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, None, upright_mask())
        with pytest.raises(ValueError, match="color_type='color_ignore_orientation', but masks .* are turned upright"):
            self.dataset(root, 'color_ignore_orientation')[0]
        with pytest.raises(ValueError, match="color_type='color', but masks .* are not turned upright"):
            self.dataset(root, 'color', upright=False)[0]


class TestPages:
    """Pages show pictures as the model saw them."""

    @pytest.mark.parametrize('upright', [True, False])
    def test_of_episodes(self, tmp_path: Path, upright: bool) -> None:
        own_folder = TestOwnFolder()
        mask = upright_mask() if upright else stored(upright_mask(), 6)
        dataset = own_folder.dataset(own_folder.write(tmp_path, 6, mask), upright=upright)
        batch = pseudo_collate([dataset[0]])
        sample, = batch['data_samples']
        episode = Episode(batch['inputs']['query'][0], batch['inputs']['support'][0], sample.support_sem_seg,
                          info=dict(sample.metainfo))
        info = json.loads(json.dumps(_plain_info(episode)))
        for path in (info['img_path'], info['support_paths'][0][0]):
            expected = upright_picture() if upright else stored(upright_picture(), 6)
            assert np.array_equal(read_picture(info, path), expected)

    def test_of_records_without_the_entry(self, tmp_path: Path) -> None:
        path = save(upright_picture(), tmp_path / 'a.png', 6)
        assert np.array_equal(read_picture({}, str(path)), stored(upright_picture(), 6))

    @pytest.mark.parametrize('color_type', ['color', 'color_ignore_orientation'])
    def test_of_ordinary_segmentation(self, tmp_path: Path, color_type: str) -> None:
        path = save(upright_picture(), tmp_path / 'a.png', 6)
        loader = LoadImageFromFile(color_type=color_type)

        class Images:
            pipeline = Compose([loader])

        loaded = loader(dict(img_path=str(path)))['img'][..., ::-1]
        assert np.array_equal(read_picture(dict(upright=loads_upright(Images())), str(path)), loaded)
        record = dict(index=0, image=str(path), cell=[0, 0], activation_box=[0, 4, 0, 4],
                      upright=loads_upright(Images()))
        (tmp_path / 'prototypes.json').write_text(json.dumps(dict(prototypes=[record])))
        assert np.array_equal(PrototypeSources(tmp_path / 'prototypes.json').image(0), loaded)

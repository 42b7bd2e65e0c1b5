"""Support sets in folders, and signs that a mask is wrong."""
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmfss.apis import find_support
from mmfss.apis.image_transform import ImageTransform
from mmfss.apis.support_checks import draw_supports, support_warnings
from mmfss.apis.support_set import SupportShot, load_support
from tests.tiny.data import PIPELINE, write_class_folders

MUG = dict(label='mug', shape_type='rectangle', points=[[10, 10], [40, 30]])
SPOON = dict(label='spoon', shape_type='rectangle', points=[[50, 40], [70, 50]])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / 'data', num_images=2)


@pytest.fixture(scope='module')
def transform() -> ImageTransform:
    return ImageTransform(PIPELINE)


def flat(root: Path, folder: Path) -> list[Path]:
    """Copy the pictures of a class."""
    folder.mkdir(parents=True)
    return [Path(shutil.copy(path, folder)) for path in sorted((root / 'ant' / 'images').iterdir())]


def write_labelme(picture: Path, *shapes: dict) -> None:
    width, height = Image.open(picture).size
    picture.with_suffix('.json').write_text(
        json.dumps(dict(shapes=shapes, imagePath=picture.name, imageHeight=height, imageWidth=width)))


def coco(pictures: list[Path], categories: list[list[int]]) -> str:
    sizes = [Image.open(picture).size for picture in pictures]
    box = [10, 10, 40, 10, 40, 30, 10, 30]
    annotations = [dict(image_id=number, category_id=category, segmentation=[box])
                   for number, ids in enumerate(categories) for category in ids]
    return json.dumps(dict(
        images=[dict(id=number, file_name=picture.name, width=size[0], height=size[1])
                for number, (picture, size) in enumerate(zip(pictures, sizes))],
        categories=[dict(id=1, name='mug'), dict(id=2, name='spoon')],
        annotations=[dict(entry, id=number) for number, entry in enumerate(annotations)]))


def names(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(Path(image).name, Path(mask).name) for image, mask in pairs]


class TestLayouts:

    def test_one_class(self, root: Path) -> None:
        assert names(find_support(root / 'ant')['object']) == [('0.jpg', '0.png'), ('1.jpg', '1.png')]
        assert list(find_support(root / 'ant', ['beetle'])) == ['beetle']

    def test_class_folders(self, root: Path) -> None:
        found = find_support(root)
        assert {'ant', 'bee', 'cat'} <= set(found) and len(found['bee']) == 2
        assert list(find_support(root, ['cat', 'ant'])) == ['cat', 'ant']
        with pytest.raises(ValueError, match='no examples of "mouse". It has "ant"'):
            find_support(root, ['mouse'])

    def test_pictures_without_masks_are_left_out(self, root: Path) -> None:
        (root / 'ant' / 'masks' / '0.png').unlink()
        assert names(find_support(root / 'ant')['object']) == [('1.jpg', '1.png')]
        (root / 'ant' / 'masks' / 'x.png').touch()
        with pytest.raises(ValueError, match='has "x.png", but "images" has no picture'):
            find_support(root / 'ant')

    def test_labelme(self, root: Path, tmp_path: Path, transform: ImageTransform) -> None:
        first, second = flat(root, tmp_path / 'flat')
        write_labelme(first, MUG)
        assert names(find_support(tmp_path / 'flat')['mug']) == [('0.jpg', '0.json')]
        write_labelme(second, MUG, SPOON)
        with pytest.raises(ValueError, match=r'"mug", "spoon": choose one or several \(--class\)'):
            find_support(tmp_path / 'flat')
        found = find_support(tmp_path / 'flat', ['mug', 'spoon'])
        assert {name: len(pairs) for name, pairs in found.items()} == dict(mug=2, spoon=1)
        shots = load_support(found, transform)
        assert [shot.mask.sum() for shot in shots['mug']] == [600, 600]
        assert [shot.mask.sum() for shot in shots['spoon']] == [200]

    @pytest.mark.parametrize('images, file', [('.', 'instances.json'), ('images', 'annotations/instances.json')])
    def test_coco(self, root: Path, tmp_path: Path, transform: ImageTransform, images: str, file: str) -> None:
        pictures = flat(root, tmp_path / 'flat' / images)
        (tmp_path / 'flat' / file).parent.mkdir(exist_ok=True)
        (tmp_path / 'flat' / file).write_text(coco(pictures, [[1], [1, 2]]))
        found = find_support(tmp_path / 'flat', ['mug'])
        assert names(found['mug']) == [('0.jpg', 'instances.json'), ('1.jpg', 'instances.json')]
        assert all((shot.mask == 1).sum() == 600 for shot in load_support(found, transform)['mug'])
        with pytest.raises(ValueError, match='choose one or several'):
            find_support(tmp_path / 'flat')

    def test_coco_picture_that_is_not_there(self, root: Path, tmp_path: Path) -> None:
        pictures = flat(root, tmp_path / 'flat')
        (tmp_path / 'flat' / 'c.json').write_text(coco(pictures, [[1], [1]]))
        pictures[1].unlink()
        with pytest.raises(ValueError, match='lists 1.jpg, which is not in'):
            find_support(tmp_path / 'flat')
        pictures[0].unlink()

    def test_yolo(self, root: Path, tmp_path: Path, transform: ImageTransform) -> None:
        for picture in flat(root, tmp_path / 'flat' / 'images'):
            label = tmp_path / 'flat' / 'labels' / f'{picture.stem}.txt'
            label.parent.mkdir(exist_ok=True)
            label.write_text('0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n')
        (tmp_path / 'flat' / 'classes.txt').write_text('mug\n')
        found = find_support(tmp_path / 'flat')
        assert names(found['mug']) == [('0.jpg', '0.txt'), ('1.jpg', '1.txt')]
        assert all(0.24 < shot.mask.mean() < 0.26 for shot in load_support(found, transform)['mug'])

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match='does not exist'):
            find_support(tmp_path / 'nowhere')
        with pytest.raises(ValueError, match='holds no examples. It may have: images/ and masks/'):
            find_support(tmp_path)


class TestAnnotationFileAsMask:

    def test_the_only_class_is_meant_whatever_it_is_called(self, root: Path, tmp_path: Path,
                                                           transform: ImageTransform) -> None:
        picture = flat(root, tmp_path / 'flat')[0]
        write_labelme(picture, MUG)
        pair = (str(picture), str(picture.with_suffix('.json')))
        for support in ([pair], dict(cup=[pair]), dict(mug=[pair])):
            (shots, ) = load_support(support, transform).values()
            assert shots[0].mask.sum() == 600 and shots[0].mask_name == pair[1]
        write_labelme(picture, MUG, SPOON)
        assert load_support(dict(spoon=[pair]), transform)['spoon'][0].mask.sum() == 200
        for support, message in (([pair], 'choose one'), (dict(cup=[pair]), 'no object of the class "cup"')):
            with pytest.raises(ValueError, match=message):
                load_support(support, transform)

    def test_coordinates_are_upright(self, root: Path, tmp_path: Path) -> None:
        picture = flat(root, tmp_path / 'flat')[0]
        exif = Image.Exif()
        exif[0x0112] = 6
        with Image.open(picture) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(picture, exif=exif)
            size = image.size
        picture.with_suffix('.json').write_text(
            json.dumps(dict(shapes=[MUG], imageHeight=size[1], imageWidth=size[0])))
        pair = [(str(picture), str(picture.with_suffix('.json')))]
        shot = load_support(pair, ImageTransform(PIPELINE))['object'][0]
        assert shot.image.shape[1::-1] == size and shot.mask[10:30, 10:40].all()
        with pytest.raises(ValueError, match='drawn on the upright picture'):
            load_support(pair, ImageTransform(PIPELINE, upright=False), upright=False)


def shot(mask: np.ndarray, file: str = '') -> SupportShot:
    return SupportShot('a.jpg', file or None, np.zeros((*mask.shape, 3), np.uint8), mask.astype(np.uint8), None, None)


class TestWarnings:

    def test_inverted_masks(self, root: Path, transform: ImageTransform) -> None:
        disc = np.hypot(*(np.mgrid[:40, :60] - 25)) < 12
        assert support_warnings(dict(mug=[shot(disc)])) == []
        assert 'masks of "mug" cover' in support_warnings(dict(mug=[shot(~disc), shot(~disc)]))[0]
        assert support_warnings(dict(mug=[shot(~disc), shot(disc)])) == []
        whole = np.ones((40, 60), bool)
        whole[:, :31] = False  # a large object at the edge
        assert support_warnings(dict(wall=[shot(whole)])) == []
        upside = load_support(find_support(root / 'ant'), transform, invert=True)
        assert len(support_warnings(upside)) == 1
        assert support_warnings(load_support(find_support(root / 'ant'), transform)) == []

    def test_mask_painted_on_the_photograph(self, tmp_path: Path) -> None:
        grid = np.mgrid[:60, :80].astype(np.float64)
        photo = np.stack([128 + 100 * np.sin(grid[0] / 9 + channel) * np.cos(grid[1] / (7 + channel))
                          for channel in range(3)], -1).astype(np.uint8)
        disc = np.hypot(grid[0] - 25, grid[1] - 30) < 12
        photo[disc] = (255, 0, 0)
        Image.fromarray(photo).save(tmp_path / 'painted.png')
        Image.fromarray(np.uint8(255 * disc)).convert('RGB').save(tmp_path / 'mask.jpg')
        assert support_warnings(dict(mug=[shot(disc, str(tmp_path / 'mask.jpg'))])) == []
        assert 'as many colours as a photograph' in support_warnings(
            dict(mug=[shot(disc, str(tmp_path / 'painted.png'))]))[0]


def test_drawing_shows_every_support(root: Path, transform: ImageTransform) -> None:
    classes = load_support({name: pairs for name, pairs in find_support(root).items() if name in ('ant', 'bee')},
                           transform)
    picture = draw_supports(classes)
    assert picture.shape[1] > 2 * 256 and picture.shape[0] > 2 * 150

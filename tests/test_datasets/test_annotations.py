"""Masks from the files of annotation programs."""
import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmfss.datasets.annotations import UnknownClassError, read_annotated_mask, read_picture_objects
from mmfss.datasets.masks import IGNORE

HEIGHT, WIDTH = 40, 60
SIZE = (HEIGHT, WIDTH)
SQUARE = [[10, 5], [30, 5], [30, 25], [10, 25]]


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


SQUARE_MASK = rectangle(10, 5, 30, 25)


def write_labelme(folder: Path, *shapes: dict, **keys: Any) -> Path:
    path = folder / 'a.json'
    content = dict(version='5.5.0', flags={}, shapes=shapes, imagePath='a.jpg', imageData=None, imageHeight=HEIGHT,
                   imageWidth=WIDTH, **keys)
    path.write_text(json.dumps(content))
    return path


def shape(kind: str = 'polygon', points: Any = SQUARE, label: str = 'mug', **keys: Any) -> dict:
    return dict(label=label, points=points, shape_type=kind, group_id=None, flags={}, **keys)


def write_coco(path: Path, *annotations: dict, name: str = 'a.jpg') -> Path:
    path.write_text(json.dumps(dict(
        images=[dict(id=7, file_name=name, height=HEIGHT, width=WIDTH),
                dict(id=8, file_name='b.jpg', height=3, width=4)],
        categories=[dict(id=1, name='mug'), dict(id=2, name='spoon')],
        annotations=[dict(id=number, image_id=7, iscrowd=0, **annotation)
                     for number, annotation in enumerate(annotations)])))
    return path


class TestLabelMe:

    @pytest.mark.parametrize('drawn', [
        shape(), shape(None), shape('rectangle', [[10, 5], [30, 25]]), shape('rectangle', [[30, 25], [10, 5]]),
        shape('rectangle', SQUARE), shape('oriented_rectangle', SQUARE)
    ])
    def test_areas(self, tmp_path: Path, drawn: dict) -> None:
        path = write_labelme(tmp_path, drawn)
        np.testing.assert_array_equal(read_annotated_mask(path, None, SIZE), SQUARE_MASK)

    def test_circle(self, tmp_path: Path) -> None:
        mask = read_annotated_mask(write_labelme(tmp_path, shape('circle', [[30, 20], [30, 32]])), None, SIZE)
        rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        distance = np.hypot(rows - 20, columns - 30)
        assert mask[distance < 11.3].all() and not mask[distance > 12.7].any()

    def test_painted_mask(self, tmp_path: Path) -> None:
        patch = np.zeros((8, 6), np.uint8)
        patch[2:, 3:] = 255
        content = io.BytesIO()
        Image.fromarray(patch).save(content, 'PNG')
        painted = shape('mask', [[20, 10], [26, 18]], mask=base64.b64encode(content.getvalue()).decode())
        mask = read_annotated_mask(write_labelme(tmp_path, painted), None, SIZE)
        np.testing.assert_array_equal(mask, rectangle(23, 12, 26, 18))

    def test_union_of_one_class(self, tmp_path: Path) -> None:
        other = shape('rectangle', [[40, 30], [50, 35]])
        path = write_labelme(tmp_path, shape(), other, shape('rectangle', [[0, 0], [60, 40]], label='table'))
        np.testing.assert_array_equal(
            read_annotated_mask(path, None, SIZE, 'mug'), SQUARE_MASK | rectangle(40, 30, 50, 35))
        with pytest.raises(ValueError, match='"mug", "table": choose one'):
            read_annotated_mask(path, None, SIZE)
        with pytest.raises(UnknownClassError, match='no object of the class "cup"') as error:
            read_annotated_mask(path, None, SIZE, 'cup')
        assert error.value.known == ('mug', 'table')

    @pytest.mark.parametrize('kind', ['point', 'points', 'line', 'linestrip'])
    def test_shapes_without_area_are_named(self, tmp_path: Path, kind: str) -> None:
        with pytest.raises(ValueError, match=fr'a.json: shape 0 \("mug"\) is a {kind}, which has no area'):
            read_annotated_mask(write_labelme(tmp_path, shape(kind, [[1, 1], [2, 2]])), None, SIZE)

    @pytest.mark.parametrize('wrong, message', [
        (shape('spline'), 'unknown shape_type "spline"'),
        (shape(points=[[1, 1], [2, 2]]), 'has 2 points: a polygon needs three'),
        (shape(points=[[1, 1], [2, 2], [3, 1e8]]), 'coordinate y'),
        (shape(points=[1, 2, 3]), 'has no "points"'),
        (shape('circle', [[1, 1]]), 'a circle of 1 points'),
        (shape('circle', [[1, 1], [1e9, 1]]), 'a radius of'),
        (shape('mask', [[20, 10], [26, 18]], mask='nothing'), 'no readable "mask"'),
        (shape('mask', [[20, 10], [26, 18]]), 'no readable "mask"'),
        (dict(points=SQUARE), 'has no "label"'),
    ])
    def test_wrong_shapes(self, tmp_path: Path, wrong: dict, message: str) -> None:
        with pytest.raises(ValueError, match=f'a.json: shape 0.*{message}'):
            read_annotated_mask(write_labelme(tmp_path, wrong), None, SIZE)

    def test_another_picture(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match='describes a picture of 60 x 40 pixels, x.jpg has 40 x 60'):
            read_annotated_mask(write_labelme(tmp_path, shape()), 'x.jpg', (60, 40))


class TestCoco:
    FLAT = [number for point in SQUARE for number in point]

    def test_polygons_and_crowds(self, tmp_path: Path) -> None:
        crowd = dict(category_id=1, segmentation=dict(size=[HEIGHT, WIDTH], counts=[0, 80, HEIGHT * WIDTH - 80]))
        path = write_coco(tmp_path / 'instances.json', dict(category_id=1, segmentation=[self.FLAT]))
        content = json.loads(path.read_text())
        content['annotations'].append(dict(id=9, image_id=7, iscrowd=1, **crowd))
        path.write_text(json.dumps(content))
        mask = read_annotated_mask(path, tmp_path / 'photos' / 'a.jpg', SIZE)
        np.testing.assert_array_equal(mask == 1, SQUARE_MASK == 1)
        assert (mask[:, :2] == IGNORE).all() and (mask == IGNORE).sum() == 80

    def test_class_is_chosen(self, tmp_path: Path) -> None:
        path = write_coco(tmp_path / 'instances.json', dict(category_id=1, segmentation=[self.FLAT]),
                          dict(category_id=2, segmentation=[[40, 30, 50, 30, 50, 35, 40, 35]]))
        np.testing.assert_array_equal(
            read_annotated_mask(path, 'a.jpg', SIZE, 'spoon'), rectangle(40, 30, 50, 35))
        with pytest.raises(ValueError, match='choose one'):
            read_annotated_mask(path, 'a.jpg', SIZE)

    def test_folders_tell_equal_names_apart(self, tmp_path: Path) -> None:
        path = write_coco(tmp_path / 'c.json', dict(category_id=1, segmentation=[self.FLAT]), name='one/a.jpg')
        content = json.loads(path.read_text())
        content['images'].append(dict(id=9, file_name='two/a.jpg', height=3, width=4))
        path.write_text(json.dumps(content))
        assert read_annotated_mask(path, '/data/one/a.jpg', SIZE).any()
        assert read_picture_objects(path, '/data/two/a.jpg', (3, 4)).labels == ()
        with pytest.raises(ValueError, match='does not list the picture c.jpg'):
            read_annotated_mask(path, 'c.jpg', SIZE)
        with pytest.raises(ValueError, match='give the picture as a file'):
            read_annotated_mask(path, None, SIZE)

    def test_a_changed_file_is_read_again(self, tmp_path: Path) -> None:
        path = write_coco(tmp_path / 'c.json', dict(category_id=1, segmentation=[self.FLAT]))
        assert read_picture_objects(path, 'a.jpg', SIZE).labels == ('mug', )
        write_coco(path, *2 * [dict(category_id=2, segmentation=[self.FLAT])])
        assert read_picture_objects(path, 'a.jpg', SIZE).labels == ('spoon', 'spoon')


class TestYolo:
    LINE = ' '.join(str(value / side) for point in SQUARE for value, side in zip(point, (WIDTH, HEIGHT)))

    def test_polygon(self, tmp_path: Path) -> None:
        (tmp_path / 'a.txt').write_text(f'0 {self.LINE}\n\n')
        np.testing.assert_array_equal(read_annotated_mask(tmp_path / 'a.txt', None, SIZE), SQUARE_MASK)

    @pytest.mark.parametrize('name, text', [
        ('classes.txt', 'fork\nmug\n'), ('data.yaml', 'names: [fork, mug]\n'),
        ('data.yaml', 'names: {0: fork, 1: mug}\n')
    ])
    def test_class_names(self, tmp_path: Path, name: str, text: str) -> None:
        labels = tmp_path / 'labels' / 'train'
        labels.mkdir(parents=True)
        (labels / 'a.txt').write_text(f'1 {self.LINE}\n')
        assert read_picture_objects(labels / 'a.txt', None, SIZE).labels == ('1', )
        (tmp_path / name).write_text(text)
        assert read_picture_objects(labels / 'a.txt', None, SIZE).labels == ('mug', )
        (labels / 'a.txt').write_text(f'2 {self.LINE}\n')
        with pytest.raises(ValueError, match='line 1 has class 2; the list beside it has 2 names'):
            read_picture_objects(labels / 'a.txt', None, SIZE)

    @pytest.mark.parametrize('line, message', [
        ('0 0.5 0.5 0.1 0.1', 'is a box'), ('0 0.1 0.1 0.2 0.2 0.3 12', 'outside 0 to 1'),
        ('0 0.1 0.1 0.2 0.2 0.3 nan', 'outside 0 to 1'), ('mug 0.1 0.1 0.2 0.2 0.3 0.3', 'not with the number'),
        ('0 0.1 0.1 0.2 x', 'is no polygon'), ('0 0.1 0.1 0.2 0.2 0.3', 'polygon of 5 numbers'),
        ('0 0.1 0.1', '1 points')
    ])
    def test_wrong_lines(self, tmp_path: Path, line: str, message: str) -> None:
        (tmp_path / 'a.txt').write_text(f'0 {self.LINE}\n{line}\n')
        with pytest.raises(ValueError, match=f'a.txt: line 2.*{message}'):
            read_annotated_mask(tmp_path / 'a.txt', None, SIZE)


@pytest.mark.parametrize('content, message', [
    ('[{"annotations": []}]', 'own format of Label Studio'), ('{"_via_img_metadata": {}}', 'VGG Image Annotator'),
    ('{"annotations": []}', 'a COCO file has'), ('{}', 'of no known format. LabelMe'), ('{"shapes": [', 'is not JSON')
])
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / 'x.json').write_text(content)
    with pytest.raises(ValueError, match=message):
        read_annotated_mask(tmp_path / 'x.json', None, SIZE)


def test_missing_files(tmp_path: Path) -> None:
    for name in ('x.json', 'x.txt'):
        with pytest.raises(FileNotFoundError, match=name):
            read_annotated_mask(tmp_path / name, None, SIZE)

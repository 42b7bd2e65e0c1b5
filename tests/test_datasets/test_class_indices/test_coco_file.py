"""Faults of COCO files, each found when the file is read, with file, entry, key and cure in one line."""

import copy
import json
import random

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmfss.datasets import CocoInstanceIndex
from mmfss.datasets.class_indices.coco_file import load_coco, normalize_coco, read_coco_json, validate_coco
from mmfss.datasets.class_indices.coco_shapes import code_totals

HEIGHT, WIDTH = 12, 16
TRIANGLE = [1, 1, 9, 1, 9, 9]


def content(shape=None, **annotation):
    """Two images, one object and two categories, without a fault."""
    entry = dict(id=5, image_id=1, category_id=3, segmentation=[TRIANGLE] if shape is None else shape)
    return dict(
        images=[dict(id=number, file_name=f'{number}.jpg', height=HEIGHT, width=WIDTH) for number in (1, 2)],
        annotations=[dict(entry, **annotation)],
        categories=[dict(id=3, name='cat'), dict(id=7, name='dog')],
    )


def fault(file):
    with pytest.raises(ValueError) as caught:
        validate_coco(file, 'my.json')
    text = str(caught.value)
    assert '\n' not in text and 'my.json' in text
    return text


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


def random_mask(seed):
    # Smooth areas of a size such that runs of one, two and three characters occur.
    rng = np.random.RandomState(seed)
    height, width = rng.randint(1, 90, 2)
    waves = np.add.outer(np.sin(np.arange(height) / 7), np.cos(np.arange(width) / 5))
    return (waves > rng.uniform(-1, 1)).astype(np.uint8)


class TestPolygons:
    @pytest.mark.parametrize(
        'shape',
        [
            [],
            [[]],
            [[5, 5]],  # a single point, as jsbroks/coco-annotator writes
            [[1, 1, 4, 4], TRIANGLE],
            [[-3.5, 1, WIDTH + 2, 1, 8.25, HEIGHT + 1e-6]],
            [[-WIDTH, -WIDTH, 2 * WIDTH, 0, 0, HEIGHT + WIDTH]],
        ],
    )
    def test_accepted(self, shape):
        validate_coco(content(shape), 'my.json')

    @pytest.mark.parametrize(
        'shape, text',
        [
            (TRIANGLE, 'annotation 5 has the number 1 in place of a polygon'),
            ([TRIANGLE, 3], 'the number 3 in place of a polygon'),
            ([[[1, 1], [9, 1], [9, 9], [1, 9]]], 'a polygon of points in pairs'),
            ([[[1, 1], [9, 1], [9, 9], [1, 9], [3, 3], [4, 4], [5, 5]]], 'a polygon of points in pairs'),
            ([[1, 1, 9, 1, 9, 9, 4]], 'a polygon of 7 numbers'),
            ([[1, 1, 9]], 'a polygon of 3 numbers'),
            ([TRIANGLE, [1, 1, None, 1, 9, 9]], 'the coordinate null'),
            ([[1, 1, '9', 1, 9, 9]], 'the coordinate "9"'),
            ([[1, 1, True, 1, 9, 9]], 'the coordinate true'),
            ([[dict(x=1, y=2)] * 6], 'the coordinate {"x": 1, "y": 2}'),
            ([[1, 1, float('nan'), 1, 9, 9]], 'the coordinate x = NaN in a picture of 16 x 12'),
            ([[float('nan'), 1, 9, 1, 9, 9]], 'the coordinate x = NaN'),
            ([[1, 1, 9, float('inf'), 9, 9]], 'the coordinate y = Infinity'),
            ([[1, 1, 9, -float('inf'), 9, float('nan')]], 'the coordinate y = '),
            ([[1, 1, 9, 1, 10**400, 9.5]], 'the coordinate x = 1000'),
            ([[-164.1, -221.8, 2.08e8, 3.52e8, 225.9, 236.5]], 'the coordinate x = 208000000.0'),
            ([[-WIDTH - 1, 1, 9, 1, 9, 9]], 'the coordinate x = -17'),
            ([[1, 1, 9, 1, 9, HEIGHT + WIDTH + 0.5]], 'the coordinate y = 28.5'),
            ([None], 'null as a polygon'),
            (['1 1 9 1'], '"1 1 9 1" as a polygon'),
            (None, 'has no "segmentation"'),
            ('1 1 9 1', 'has no "segmentation"'),
            (dict(size=[HEIGHT, WIDTH]), 'has no "segmentation"'),
        ],
    )
    def test_refused(self, shape, text):
        file = content(**dict(segmentation=shape))
        assert text in fault(file)


class TestRunLengths:
    AREA = HEIGHT * WIDTH

    def code(self, counts, size=(HEIGHT, WIDTH)):
        return content(dict(size=list(size), counts=counts))

    @pytest.mark.parametrize(
        'counts', [[AREA], [0, AREA], [5, 0, 0, AREA - 5], [float(AREA - 2), 2.0], [10, 3, AREA - 13]]
    )
    def test_accepted(self, counts):
        validate_coco(self.code(counts), 'my.json')
        plain = dict(size=[HEIGHT, WIDTH], counts=counts)
        text = coco_mask.frPyObjects(plain, HEIGHT, WIDTH)['counts'].decode()
        validate_coco(self.code(text), 'my.json')

    @pytest.mark.parametrize(
        'counts, text',
        [
            ([5, 10], 'annotation 5 has run lengths of 15 pixels in all, its picture of 16 x 12 has 192'),
            ([], 'run lengths of 0 pixels'),
            ([5, AREA], 'run lengths of 197 pixels'),
            ([AREA + 2, -2], 'the run length -2'),
            ([10**30], 'run lengths of 1000'),
            ([10**400, 1.0], 'run lengths of 1000'),
            ([5, None, AREA - 5], 'the run length null'),
            ([5, '1', AREA - 6], 'the run length "1"'),
            ([5, True, AREA - 6], 'the run length true'),
            ([5, 1.5, AREA - 6.5], 'the run length 1.5'),
            ([float('nan'), AREA], 'the run length NaN'),
            ([float('inf')], 'the run length Infinity'),
            ([[5, AREA - 5]], 'the run length [5, 187]'),
            (None, '"counts" null'),
            (7, '"counts" 7'),
            ('', 'no compressed run lengths'),
            ('P', 'no compressed run lengths'),  # a run without an end
            ('5 3', 'no compressed run lengths'),
            ('5\x003', 'no compressed run lengths'),
            ('5\u20ac', 'no compressed run lengths'),
            ('5\ud800', 'no compressed run lengths'),
            ('P' * 12 + '1', 'no compressed run lengths'),  # more digits than a run has
            ('P' * 40 + '1', 'no compressed run lengths'),
            ('O', 'no compressed run lengths'),  # -1
            ('53', 'run lengths of 8 pixels'),
        ],
    )
    def test_refused(self, counts, text):
        assert text in fault(self.code(counts))

    @pytest.mark.parametrize('size', [[WIDTH, HEIGHT], None, 12, '12x16', [HEIGHT], [HEIGHT, None]])
    def test_size_of_the_mask(self, size):
        file = content(dict(size=size, counts=[self.AREA]))
        assert f'annotation 5 is a mask of size {json.dumps(size)} (H, W), its image has [12, 16]' in fault(file)

    def test_totals_of_codes(self):
        masks = [random_mask(seed) for seed in range(60)]
        codes = [coco_mask.encode(np.asfortranarray(mask))['counts'] for mask in masks]
        assert code_totals(codes).tolist() == [mask.size for mask in masks]
        assert code_totals([]).tolist() == [] and code_totals([b'', b'P']).tolist() == [-1, -1]

    def test_a_damaged_code_spoils_no_other(self):
        rng = random.Random(0)
        masks = [random_mask(seed) for seed in range(80)]
        codes = [coco_mask.encode(np.asfortranarray(mask))['counts'] for mask in masks]
        expected = [mask.size for mask in masks]
        for place in range(0, 80, 3):
            # cut off inside a run, another character, nothing left, a run without end before the next code
            codes[place] = rng.choice([codes[place] + b'o', b'\xff' + codes[place], b'', b'o' * 30, b'o' * 30 + b'0'])
            expected[place] = -1
        assert code_totals(codes).tolist() == expected

    def test_every_cut_code_is_refused(self):
        code = coco_mask.encode(np.asfortranarray(random_mask(3)))['counts']
        totals = code_totals([code[:end] for end in range(len(code))])
        assert (totals != random_mask(3).size).all()


class TestEntries:
    @pytest.mark.parametrize('kind, key', [
        ('images', 'id'), ('images', 'file_name'), ('images', 'height'), ('images', 'width'),
        ('categories', 'id'), ('categories', 'name'), ('annotations', 'image_id'), ('annotations', 'category_id')])
    @pytest.mark.parametrize('value', ['absent', None, True, [], {}, float('nan'), '', '  ', 1.5])
    def test_values_of_required_keys(self, kind, key, value):
        file = content()
        file[kind][0] = without(file[kind][0], key) if value == 'absent' else dict(file[kind][0], **{key: value})
        text = fault(file)
        assert (f'has no "{key}"' if value == 'absent' else f'has "{key}" {json.dumps(value)}') in text
        singular = dict(images='image', categories='category', annotations='annotation')[kind]
        number = file[kind][0].get('id')
        assert (f'{singular} entry 0' if key == 'id' else f'{singular} {number}') in text

    @pytest.mark.parametrize('value', ['12', 0, -1, 1e9, 65536, float('inf')])
    @pytest.mark.parametrize('key', ['height', 'width'])
    def test_sides(self, key, value):
        file = content()
        file['images'][0][key] = value
        assert f'image 1 has "{key}" {json.dumps(value)}' in fault(file)

    def test_area(self):
        file = content()
        file['images'][0].update(height=65000, width=65000)
        assert 'image 1 has "height" 65000 and "width" 65000' in fault(file)

    def test_whole_numbers_as_floats(self):
        file = content(image_id=1.0, category_id=3.0)
        file['images'][0]['height'] = float(HEIGHT)
        validate_coco(file, 'my.json')
        assert normalize_coco(file)['images'][0]['height'] == HEIGHT

    def test_text_as_ids(self):
        file = content(image_id='one', category_id='x')
        file['images'][0]['id'] = 'one'
        file['categories'] = [dict(id='x', name='cat'), dict(id='b', name='dog')]
        validate_coco(file, 'my.json')
        assert [entry['id'] for entry in normalize_coco(file)['categories']] == ['b', 'x']
        file['categories'][1]['id'] = 4
        assert 'some category ids are text and some are numbers' in fault(file)

    @pytest.mark.parametrize('key, text', [('image_id', 'an image'), ('category_id', 'a category')])
    @pytest.mark.parametrize('value', [8, '1', '3'])
    def test_references(self, key, text, value):
        assert f'annotation 5 names {text} that is not in the file ("{key}" {json.dumps(value)})' in fault(
            content(**{key: value}))

    @pytest.mark.parametrize('value', ['0', '1', 2, [1]])
    def test_crowd_flag(self, value):
        assert f'annotation 5 has "iscrowd" {json.dumps(value)}' in fault(content(iscrowd=value))

    @pytest.mark.parametrize('kind', ['images', 'categories', 'annotations'])
    @pytest.mark.parametrize('entry', [None, 1, 'a.jpg', [1]])
    def test_entries_that_are_none(self, kind, entry):
        file = content()
        file[kind].append(entry)
        assert f'entry {len(file[kind]) - 1} is {json.dumps(entry)}' in fault(file)

    @pytest.mark.parametrize('kind, entry, text', [
        ('images', dict(id=1, file_name='3.jpg'), 'image id 1 is given twice, to "1.jpg" and "3.jpg"'),
        ('images', dict(id=1.0, file_name='3.jpg'), 'image id 1.0 is given twice'),
        ('images', dict(id=9, file_name='2.jpg'), 'file_name "2.jpg" is given twice, to image ids 2 and 9'),
        ('images', dict(id=9, file_name='./a/../2.jpg'), 'file_name "2.jpg" is given twice'),
        ('categories', dict(id=7, name='horse'), 'category id 7 is given twice, to "dog" and "horse"'),
        ('categories', dict(id=9, name='dog'), 'category name "dog" is given twice, to ids 7 and 9'),
        ('categories', dict(id=9, name='dog '), 'category name "dog" is given twice'),
    ])
    def test_entries_twice(self, kind, entry, text):
        file = content()
        file[kind].append(dict(dict(height=HEIGHT, width=WIDTH), **entry))
        assert text in fault(file)

    def test_harmless(self):
        file = content(iscrowd=None, area=None, bbox='none')
        file['annotations'] += [copy.deepcopy(file['annotations'][0]), without(file['annotations'][0], 'id')]
        file.update(info=None, licenses='none')
        before = copy.deepcopy(file)
        validate_coco(file, 'my.json')
        assert file == before

    def test_first_faults_and_their_number(self):
        file = content()
        flat = dict(file['annotations'][0], segmentation=TRIANGLE)
        file['annotations'] = [dict(flat, id=number) for number in range(20000)]
        text = fault(file)
        assert 'annotation 0 has' in text and 'annotation 2 has' in text and 'annotation 3 has' not in text
        assert '(3 of 20000 faults)' in text and text.count('Write a list of polygons') == 1

    def test_faults_of_both_kinds_of_codes_keep_their_order(self):
        short = [dict(size=[HEIGHT, WIDTH], counts=counts) for counts in ('53', [1, 2])]
        file = content()
        file['annotations'] = [dict(file['annotations'][0], id=number, segmentation=short[number % 2])
                               for number in range(6)]
        text = fault(file)
        assert text.index('annotation 0 ') < text.index('annotation 1 ') < text.index('annotation 2 ')


class TestFile:
    @pytest.mark.parametrize('data, text', [
        (b'', 'is not JSON'),
        (b'{"images": [', 'is not JSON'),
        (b'\x1f\x8b\x08\x00abc', 'is not JSON'),
        (b'[' * 200000, 'is not JSON'),
        (b'[]', r'not a COCO instances file: it holds \[\]'),
        (b'null', 'not a COCO instances file: it holds null'),
        (b'{"images": [], "categories": []}', r"not a COCO instances file: it has no \['annotations'\]"),
        (b'{"images": null, "categories": {}, "annotations": []}', '"images" is null, "categories" is {}, not a list'),
    ])
    def test_refused(self, tmp_path, data, text):
        (tmp_path / 'my.json').write_bytes(data)
        with pytest.raises(ValueError, match=text) as caught:
            load_coco(str(tmp_path / 'my.json'))
        assert str(tmp_path / 'my.json') in str(caught.value) and '\n' not in str(caught.value)

    @pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
    def test_byte_order_marks(self, tmp_path, encoding):
        file = content()
        file['categories'][0]['name'] = '猫'
        (tmp_path / 'my.json').write_text(json.dumps(file, ensure_ascii=False), encoding=encoding)
        assert read_coco_json(str(tmp_path / 'my.json')) == file


class TestLVIS:
    def lvis(self, count=2, num_categories=2):
        file = content()
        file['images'] = [dict(id=number, coco_url=f'http://images.cocodataset.org/{part}/{number:012d}.jpg',
                               height=HEIGHT, width=WIDTH, neg_category_ids=[2], not_exhaustive_category_ids=[])
                          for number, part in zip(range(1, count + 1), ['train2017', 'val2017'] * count)]
        file['categories'] = [dict(id=3 + number, name=f'c{number}', synset='n.01', frequency='r')
                              for number in range(num_categories)]
        return file

    @pytest.mark.parametrize('img_dir, prefix', [('', ''), ('val2017', ''), ('coco/val2017', 'coco/')])
    def test_folder_and_name(self, img_dir, prefix):
        file = self.lvis()
        validate_coco(file, 'lvis.json')
        read = normalize_coco(file, img_dir)
        assert [image['name'] for image in read['images']] == [
            f'{prefix}train2017/000000000001.jpg', f'{prefix}val2017/000000000002.jpg']

    def test_file_name_wins(self):
        file = content()
        file['images'][0]['coco_url'] = 'http://host/train2017/x.jpg'
        assert normalize_coco(file, 'a')['images'][0]['name'] == 'a/1.jpg'

    @pytest.mark.parametrize('url', [None, '', 3, 'http://host', 'http://[host/x.jpg'])
    def test_addresses(self, url):
        file = self.lvis()
        file['images'][0]['coco_url'] = url
        assert f'image 1 has "coco_url" {json.dumps(url)}' in fault(file)

    def test_one_picture_twice_and_a_name_missing(self):
        file = self.lvis()
        file['images'][1]['coco_url'] = 'https://mirror.org/coco/train2017/000000000001.jpg?download=1'
        assert 'coco_url "train2017/000000000001.jpg" is given twice' in fault(file)
        file['images'][0]['file_name'] = 'a.jpg'
        assert 'image 2 has no "file_name"' in fault(file)

    def test_as_an_index(self, tmp_path):
        file = self.lvis(num_categories=1203)
        file['annotations'] += [dict(id=6, image_id=1, category_id=3 + 1200, segmentation=[[0, 0, 5, 0, 5, 5, 0, 5]])]
        (tmp_path / 'lvis.json').write_text(json.dumps(file))
        (tmp_path / 'val2017').mkdir()
        index = CocoInstanceIndex(str(tmp_path), 'lvis.json', 'val2017')
        name = 'train2017/000000000001.jpg'
        assert index.image_path(name) == str(tmp_path / name) and len(index.classes) == 1203
        assert index.class_pixels(name)[1200] == 25 and index.build_lists((1200, 1)).images_of(1200) == [name]
        assert (index.load_label_map(name, (0, 1200)) == 2).sum() == 25
        numbers = index.load_class_numbers(name)
        assert numbers.dtype == np.uint16 and (numbers == 1201).sum() == 25
        with pytest.raises(ValueError, match='255 classes do not fit into one label map'):
            index.load_label_map(name, range(255))


class TestIndex:
    def build(self, tmp_path, shapes):
        file = content()
        file['annotations'] = [dict(file['annotations'][0], id=20 + place, segmentation=shape)
                               for place, shape in enumerate(shapes)]
        (tmp_path / 'my.json').write_text(json.dumps(file))
        return CocoInstanceIndex(str(tmp_path), 'my.json', '')

    def test_left_out_objects_are_counted(self, tmp_path, monkeypatch):
        told = []
        monkeypatch.setattr(f'{CocoInstanceIndex.__module__}.print_log', lambda text, **_: told.append(text))
        outside = [WIDTH + 2, 1, WIDTH + 4, 1, WIDTH + 4, 5]
        index = self.build(tmp_path, [[TRIANGLE], [[5, 5]], [], [[5, 5, 6, 6], TRIANGLE], [outside]])
        assert told == [f'{tmp_path}/my.json: of 5 annotations 3 have polygons of fewer than three points, first 21; '
                        '1 cover no pixel, first 24. These polygons and objects are left out.']
        expected = coco_mask.decode(coco_mask.frPyObjects([TRIANGLE], HEIGHT, WIDTH)[0])
        np.testing.assert_array_equal(index.load_class_mask('1.jpg', 0), expected)

    def test_nothing_is_told_of_a_sound_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr(f'{CocoInstanceIndex.__module__}.print_log', lambda *_, **__: pytest.fail())
        self.build(tmp_path, [[TRIANGLE, TRIANGLE]])

    def test_faults_never_reach_pycocotools(self, tmp_path, monkeypatch):
        for function in ('frPyObjects', 'merge', 'area', 'decode'):
            monkeypatch.setattr(coco_mask, function, lambda *_: pytest.fail('was called'))
        for shape in ([[1, 1, None, 1, 9, 9]], [[1, 1, 2e8, 1, 9, 9]], dict(size=[HEIGHT, WIDTH], counts=[3])):
            with pytest.raises(ValueError, match='annotation 20 has'):
                self.build(tmp_path, [shape])

    def test_all_three_forms_give_one_mask(self, tmp_path):
        code = coco_mask.frPyObjects([TRIANGLE], HEIGHT, WIDTH)[0]
        flat = np.concatenate([[0], coco_mask.decode(code).ravel(order='F'), [2]])
        edges = np.flatnonzero(np.diff(flat))
        counts = np.diff(np.concatenate([[0], edges])).tolist()
        masks = [self.build(tmp_path, [shape]).load_class_mask('1.jpg', 0) for shape in (
            [TRIANGLE], dict(size=[float(HEIGHT), float(WIDTH)], counts=counts),
            dict(size=[HEIGHT, WIDTH], counts=code['counts'].decode()))]
        assert masks[0].any()
        np.testing.assert_array_equal(masks[0], masks[1])
        np.testing.assert_array_equal(masks[0], masks[2])

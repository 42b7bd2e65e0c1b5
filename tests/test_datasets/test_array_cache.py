"""Arrays of COCO files and counts of mask pixels, kept beside the data."""
import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mmfss.datasets import CocoInstanceIndex, ImageFolderIndex, PascalVOCIndex
from mmfss.datasets.class_indices import coco_arrays, pixel_counts
from mmfss.utils.array_file import ArrayFile

SIDE = 40
CACHE = '.ann.json.objects.mmfss'


def write_coco(root, seed=0, objects=30):
    rng = np.random.default_rng(seed)
    (root / 'img').mkdir(exist_ok=True)
    images = [dict(id=7 * number, file_name=name, height=SIDE, width=SIDE + number)
              for number, name in enumerate(['b.jpg', 'á.jpg', 'a.jpg'])]
    annotations = [dict(id=number, image_id=7 * int(rng.integers(2)), category_id=int(rng.integers(1, 4)),
                        iscrowd=int(rng.random() < 0.2), segmentation=[rng.uniform(0, SIDE, 8).round(2).tolist()])
                   for number in range(objects)]
    content = dict(images=images, annotations=annotations,
                   categories=[dict(id=number, name=f'class {number}') for number in (1, 2, 3)])
    (root / 'ann.json').write_text(json.dumps(content))
    return content


def build(root, **options):
    return CocoInstanceIndex(str(root), 'ann.json', 'img', **options)


def labels(index):
    return [index.load_label_map(name, (0, 2)) for name in index.image_names()]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(coco_arrays, 'MIN_BYTES', 1)
    monkeypatch.setattr(pixel_counts, 'MIN_IMAGES', 1)
    write_coco(tmp_path)
    return tmp_path


@pytest.fixture
def derived(monkeypatch):
    """Files that were parsed."""
    parsed, load = [], coco_arrays.load_coco

    def counted(path):
        parsed.append(path)
        return load(path)

    monkeypatch.setattr(coco_arrays, 'load_coco', counted)
    return parsed


class TestCoco:

    def test_second_start_parses_nothing(self, root, derived):
        first, second = build(root), build(root)
        assert len(derived) == 1 and isinstance(second._arrays, ArrayFile) and (root / CACHE).is_file()
        assert first.classes == second.classes == ('class 1', 'class 2', 'class 3')
        assert second.image_names() == ['img/a.jpg', 'img/b.jpg', 'img/á.jpg']
        for name in first.image_names():
            assert first.class_pixels(name) == second.class_pixels(name)
        assert all(map(np.array_equal, labels(first), labels(second)))

    def test_small_files_are_not_kept(self, root, monkeypatch):
        monkeypatch.setattr(coco_arrays, 'MIN_BYTES', 10**6)
        assert not isinstance(build(root)._arrays, ArrayFile) and not (root / CACHE).exists()

    def test_another_folder_of_images_shares_the_arrays(self, root, derived):
        (root / 'other').mkdir()
        build(root)
        index = CocoInstanceIndex(str(root), 'ann.json', 'other/')
        assert len(derived) == 1 and index.image_names()[0] == 'other/a.jpg'
        with pytest.raises(KeyError, match='no image named "img/a.jpg"'):
            index.load_class_mask('img/a.jpg', 0)

    def test_changed_annotations_are_read_again(self, root, derived):
        before = labels(build(root))
        write_coco(root, seed=1)
        after = labels(build(root))
        assert len(derived) == 2 and not all(map(np.array_equal, before, after))

    def test_same_size_and_time_do_not_hide_a_change(self, root, derived):
        build(root)
        state, content = os.stat(root / 'ann.json'), (root / 'ann.json').read_text()
        (root / 'ann.json').write_text(content.replace('class 3', 'CLASS 3'))
        os.utime(root / 'ann.json', ns=(state.st_atime_ns, state.st_mtime_ns))
        assert os.stat(root / 'ann.json').st_size == state.st_size
        assert build(root).classes[2] == 'CLASS 3' and len(derived) == 2

    def test_a_touched_file_is_recognized_by_its_checksum(self, root, derived):
        build(root)
        os.utime(root / 'ann.json', (1, 1))
        build(root)
        assert len(derived) == 1

    @pytest.mark.parametrize('change', [lambda content: content[:-1], lambda content: b'{}',
                                        lambda content: content.replace(b'"format": 1', b'"format": 0')])
    def test_damaged_and_older_files_are_replaced(self, root, derived, change):
        expected = labels(build(root))
        (root / CACHE).write_bytes(change((root / CACHE).read_bytes()))
        assert all(map(np.array_equal, labels(build(root)), expected)) and len(derived) == 2
        build(root)
        assert len(derived) == 2

    def test_a_folder_that_cannot_be_written_to(self, root, derived, monkeypatch):
        monkeypatch.setattr(os, 'access', lambda path, mode: False)
        build(root), build(root)
        assert len(derived) == 2 and not (root / CACHE).exists()

    def test_a_failed_write_is_no_failure(self, root, monkeypatch):
        def fail(*_):
            raise OSError('No space left on device')

        monkeypatch.setattr('mmfss.datasets.array_cache.write_arrays', fail)
        assert len(labels(build(root))) == 3

    def test_another_folder_for_kept_arrays(self, root, derived, monkeypatch):
        monkeypatch.setenv('MMFSS_CACHE_DIR', str(root / 'kept'))
        build(root), build(root)
        assert len(derived) == 1 and not (root / CACHE).exists() and len(list((root / 'kept').iterdir())) == 1

    def test_processes_that_start_together_parse_once(self, root, derived):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: labels(build(root)), range(4)))
        assert len(derived) == 1
        assert all(all(map(np.array_equal, found[0], other)) for other in found)

    def test_spawned_workers_receive_no_arrays(self, root):
        index = build(root)
        content = pickle.dumps(index)
        assert len(content) < 3000
        assert all(map(np.array_equal, labels(index), labels(pickle.loads(content))))

    def test_unknown_images(self, root):
        index = build(root)
        for name in ('img/none.jpg', 'b.jpg', 'img/', '', 'img/' + 'b' * 300):
            with pytest.raises(KeyError, match='has no image named'):
                index.load_class_mask(name, 0)

    @pytest.mark.parametrize('crowd', CocoInstanceIndex.CROWD)
    @pytest.mark.parametrize('class_ids', [(0, ), (2, 1), (0, 1, 2)])
    def test_merged_objects_are_drawn_like_single_ones(self, root, crowd, class_ids):
        """The reference draws every object alone, the largest first."""
        content, index = write_coco(root, seed=2, objects=60), build(root, crowd=crowd)
        for image in content['images']:
            size = image['height'], image['width']
            objects = [(coco_mask.frPyObjects(entry['segmentation'], *size)[0], entry)
                       for entry in content['annotations'] if entry['image_id'] == image['id']]
            objects.sort(key=lambda item: -int(coco_mask.area(item[0])))
            if crowd == 'ignore':
                objects.sort(key=lambda item: not item[1]['iscrowd'])
            expected = np.zeros(size, np.uint8)
            for code, entry in objects:
                if entry['category_id'] - 1 in class_ids and not (entry['iscrowd'] and crowd == 'background'):
                    ignored = entry['iscrowd'] and crowd == 'ignore'
                    expected[coco_mask.decode(code) > 0] = (
                        255 if ignored else class_ids.index(entry['category_id'] - 1) + 1)
            np.testing.assert_array_equal(index.load_label_map(f'img/{image["file_name"]}', class_ids), expected)


class TestCounts:

    def voc(self, root):
        for folder in ('JPEGImages', 'SegmentationClassAug'):
            (root / folder).mkdir(exist_ok=True)
        for number in range(4):
            mask = np.full((6, 6), number, np.uint8)
            mask[0] = 2
            Image.fromarray(mask).save(root / f'SegmentationClassAug/{number}.png')
        return PascalVOCIndex(str(root))

    def test_masks_are_read_once(self, root, monkeypatch):
        expected = self.voc(root).build_lists([0, 1], 7)
        assert expected.class_ids.tolist() == [0, 1] and expected.images_of(1) == ['2']
        monkeypatch.setattr(PascalVOCIndex, 'class_pixels', lambda *_: pytest.fail('was read'))
        again = PascalVOCIndex(str(root)).build_lists([0, 1], 7)
        assert again.class_ids.tolist() == [0, 1] and again.names.tolist() == expected.names.tolist()
        assert PascalVOCIndex(str(root)).build_lists([2]).images_of(2) == ['3']

    def test_a_changed_mask_is_counted_again(self, root):
        index = self.voc(root)
        assert index.build_lists([0]).images_of(0) == ['1']
        Image.fromarray(np.ones((6, 6), np.uint8)).save(root / 'SegmentationClassAug/3.png')
        assert index.build_lists([0]).images_of(0) == ['1', '3']

    def test_own_folders(self, root, monkeypatch):
        for part in ('images', 'masks'):
            (root / 'own/mug' / part).mkdir(parents=True)
        for number in range(3):
            Image.new('RGB', (8, 8)).save(root / f'own/mug/images/{number}.jpg')
            Image.new('L', (8, 8), 255 * (number > 0)).save(root / f'own/mug/masks/{number}.png')
        first = ImageFolderIndex(str(root / 'own')).build_lists()
        monkeypatch.setattr(ImageFolderIndex, 'class_pixels', lambda *_: pytest.fail('was read'))
        second = ImageFolderIndex(str(root / 'own')).build_lists()
        assert first.names.tolist() == second.names.tolist() == ['mug/images/1.jpg', 'mug/images/2.jpg']

    def test_coco_counts_follow_its_crowds(self, root):
        indices = [build(root, crowd=crowd) for crowd in ('foreground', 'background')]
        first, second = ([pixel_counts.count_pixels(index, index.image_names()) for index in indices] for _ in range(2))
        assert first[0]['pixels'].sum() > first[1]['pixels'].sum()
        for before, after in zip(first, second):
            assert isinstance(after, ArrayFile) and np.array_equal(before['pixels'], after['pixels'])

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from mmfss.datasets import (
    COCO_CLASSES,
    CocoInstanceIndex,
    CocoMaskIndex,
    FSS1000Index,
    ImageFolderIndex,
    PascalVOCIndex,
)
from mmfss.datasets.images import read_image
from tests.test_datasets.layouts import (
    SIZE,
    boxes_mask,
    coco_content,
    save_image,
    save_mask,
    write_coco,
    write_fss,
    write_voc,
)
from tests.tiny.data import write_class_folders


class TestPascalVOC:
    def test_masks_are_palette_indices(self, tmp_path):
        index = PascalVOCIndex(str(write_voc(tmp_path, 1)))
        mask = index.load_class_mask('2007_004000', 4)
        assert mask.dtype == np.uint8 and mask.shape == SIZE
        assert (mask == 1).sum() == 100 and (mask == 255).sum() == 144 - 100
        both = index.load_label_map('2007_004000', (5, 4))
        assert (both == 2).sum() == 100 and (both == 1).sum() == 50 and set(np.unique(both)) == {0, 1, 2, 255}

    def test_lists_from_masks(self, tmp_path):
        index = PascalVOCIndex(str(write_voc(tmp_path, 2)), image_set='ImageSets/Segmentation/val.txt')
        lists = index.build_lists((3, 4), min_pixels=60)
        assert lists.images_of(3) == ['2007_003001'] and lists.images_of(4) == ['2007_004001'] and len(lists) == 2
        assert index.build_lists((4,), min_pixels=50).images_of(4) == ['2007_003001', '2007_004001']

    def test_unknown_mask_value(self, tmp_path):
        index = PascalVOCIndex(str(write_voc(tmp_path, 1)))
        save_mask(tmp_path / 'SegmentationClassAug' / '2007_000000.png', boxes_mask([(21, 0, 0, 2, 2)]))
        with pytest.raises(ValueError, match=r'2007_000000.png holds the value 21'):
            index.build_lists()

    def test_missing_image_set(self, tmp_path):
        index = PascalVOCIndex(str(write_voc(tmp_path, 1)), image_set='ImageSets/Segmentation/none.txt')
        with pytest.raises(FileNotFoundError, match='none.txt'):
            index.build_lists()


class TestManyClasses:
    def build(self, tmp_path, numbers, num_classes=300):
        save_image(tmp_path / 'img' / 'a.jpg', 0)
        (tmp_path / 'masks').mkdir()
        Image.fromarray(numbers).save(tmp_path / 'masks' / 'a.png')
        return CocoMaskIndex(str(tmp_path), 'img', 'masks', [f'c{number}' for number in range(num_classes)])

    def numbers(self, dtype, *values):
        mask = np.zeros(SIZE, dtype)
        mask[0, :len(values)] = values
        return mask

    def test_sixteen_bits(self, tmp_path):
        index = self.build(tmp_path, self.numbers(np.uint16, 255, 256, 300, 65535))
        assert index.load_label_map('img/a.jpg', (299, 254))[0, :4].tolist() == [2, 0, 1, 255]
        assert index.class_pixels('img/a.jpg') == {254: 1, 255: 1, 299: 1}

    def test_eight_bits(self, tmp_path):
        index = self.build(tmp_path, self.numbers(np.uint8, 1, 254))
        assert index.class_pixels('img/a.jpg') == {0: 1, 253: 1}

    def test_ambiguous_number(self, tmp_path):
        index = self.build(tmp_path, self.numbers(np.uint8, 1, 255))
        with pytest.raises(ValueError, match=r'a.png has 8 bits and holds 255, .* class "c254" or ignored .* 16 bits'):
            index.load_label_map('img/a.jpg', (3,))

    def test_sixteen_bits_of_few_classes(self, tmp_path):
        index = self.build(tmp_path, self.numbers(np.uint16, 1, 254, 255), 254)
        assert index.load_label_map('img/a.jpg', (253,))[0, :3].tolist() == [0, 1, 255]
        with pytest.raises(ValueError, match='255 classes do not fit into one label map'):
            index.load_label_map('img/a.jpg', range(255))

    @pytest.mark.parametrize('num_classes, limit, value', [(254, 255, 256), (300, 65535, 301)])
    def test_unknown_numbers(self, tmp_path, num_classes, limit, value):
        index = self.build(tmp_path, self.numbers(np.uint16, value), num_classes)
        with pytest.raises(ValueError, match=f'a.png holds the value 301|a.png holds values outside 0..{limit}'):
            index.class_pixels('img/a.jpg')


class TestCoco:
    def test_classes_are_sorted_by_category_id(self, tmp_path):
        index = CocoInstanceIndex(str(write_coco(tmp_path, 1)))
        assert index.classes == COCO_CLASSES
        assert index.image_names()[5] == 'val2014/COCO_val2014_000000000005.jpg'

    def test_json_and_png_hold_the_same_masks(self, tmp_path):
        instances, pngs = CocoInstanceIndex(str(write_coco(tmp_path, 1))), CocoMaskIndex(str(tmp_path))
        assert instances.image_names() == pngs.image_names()
        for class_id, name in enumerate(instances.image_names()):
            expected = boxes_mask([(1, 4, 3, 14, 15)])
            np.testing.assert_array_equal(instances.load_class_mask(name, class_id), expected)
            np.testing.assert_array_equal(pngs.load_class_mask(name, class_id), expected)
            assert not instances.load_class_mask(name, (class_id + 1) % 80).any()
            assert instances.class_pixels(name) == pngs.class_pixels(name) == {class_id: 120}

    def build(self, tmp_path, annotations, **kwargs):
        save_image(tmp_path / 'img' / 'a.jpg', 0)
        image = dict(id=7, file_name='a.jpg', height=SIZE[0], width=SIZE[1])
        (tmp_path / 'ann.json').write_text(json.dumps(coco_content([image], annotations)))
        return CocoInstanceIndex(str(tmp_path), 'ann.json', 'img', **kwargs)

    def box(self, class_id, left, top, right, bottom, **extra):
        polygon = [left, top, right, top, right, bottom, left, bottom]
        return dict(dict(id=1, image_id=7, category_id=10 + 3 * class_id, iscrowd=0, segmentation=[polygon]), **extra)

    def test_union_of_objects_and_smaller_on_top(self, tmp_path):
        index = self.build(tmp_path, [self.box(1, 2, 2, 5, 5), self.box(0, 0, 0, 10, 10), self.box(0, 12, 0, 14, 2)])
        assert index.load_class_mask('img/a.jpg', 0).sum() == 100 + 4
        label_map = index.load_label_map('img/a.jpg', (0, 1))
        assert (label_map == 2).sum() == 9 and (label_map == 1).sum() == 100 - 9 + 4
        assert index.class_pixels('img/a.jpg') == {0: 104, 1: 9}

    @pytest.mark.parametrize(
        'crowd, foreground, ignored', [('foreground', 125, 0), ('ignore', 100, 25), ('background', 100, 0)]
    )
    def test_crowds(self, tmp_path, crowd, foreground, ignored):
        counts = [0, 5] + [SIZE[0] - 5, 5] * 4 + [SIZE[1] * SIZE[0] - 5 - 4 * SIZE[0]]  # column-major box 5 x 5 at 0, 0
        region = dict(id=2, image_id=7, category_id=10, iscrowd=1, segmentation=dict(size=list(SIZE), counts=counts))
        index = self.build(tmp_path, [region, self.box(0, 10, 10, 20, 20)], crowd=crowd)
        mask = index.load_class_mask('img/a.jpg', 0)
        assert ((mask == 1).sum(), (mask == 255).sum()) == (foreground, ignored)
        assert index.class_pixels('img/a.jpg') == {0: foreground}

    @pytest.mark.parametrize('text, message', [('{', 'is not JSON'), ('{"images": []}', 'not a COCO instances file')])
    def test_not_an_instances_file(self, tmp_path, text, message):
        (tmp_path / 'img').mkdir()
        (tmp_path / 'ann.json').write_text(text)
        with pytest.raises(ValueError, match=message):
            CocoInstanceIndex(str(tmp_path), 'ann.json', 'img')

    def test_annotation_of_unknown_image(self, tmp_path):
        with pytest.raises(ValueError, match='annotation 3 names an image'):
            self.build(tmp_path, [self.box(0, 0, 0, 2, 2, image_id=8, id=3)])

    @pytest.mark.parametrize('shape, message', [
        (None, 'annotation 3 has no "segmentation"'),
        ({'size': SIZE}, 'annotation 3 has no "segmentation"'),
        ({'size': SIZE[::-1], 'counts': '0'}, r'annotation 3 is a mask of size .30, 24. .* image has .24, 30.'),
    ])
    def test_unusable_masks(self, tmp_path, shape, message):
        with pytest.raises(ValueError, match=f'ann.json: {message}'):
            self.build(tmp_path, [dict(self.box(0, 0, 0, 2, 2, id=3), segmentation=shape)])

    def test_missing_file_and_bad_crowd(self, tmp_path):
        (tmp_path / 'img').mkdir()
        with pytest.raises(FileNotFoundError, match='none.json'):
            CocoInstanceIndex(str(tmp_path), 'none.json', 'img')
        with pytest.raises(ValueError, match='crowd'):
            CocoInstanceIndex(str(tmp_path), 'none.json', 'img', crowd='maybe')


class TestFolders:
    def test_fss_threshold_and_orders(self, tmp_path):
        index = FSS1000Index(str(write_fss(tmp_path)))
        assert index.classes == ('Eel', 'ant', 'bee', 'cat', 'dog')  # code points
        assert index.images_of(1)[:3] == ['ant/1.jpg', 'ant/10.jpg', 'ant/2.jpg']
        assert index.load_class_mask('ant/1.jpg', 1).sum() == 101  # 128 counts, 127 does not
        assert not index.load_class_mask('ant/1.jpg', 2).any()
        assert set(np.unique(index.load_label_map('ant/1.jpg', (2, 1)))) == {0, 2}

    def test_hidden_files(self, tmp_path):
        # A Mac leaves ._1.jpg beside 1.jpg in what it packs.
        fss, voc, coco = write_fss(tmp_path / 'fss'), write_voc(tmp_path / 'voc', 1), write_coco(tmp_path / 'coco', 1)
        for path in (fss / 'ant' / '._1.jpg', fss / 'ant' / '._1.png', voc / 'SegmentationClassAug' / '._a.png',
                     coco / 'annotations' / 'val2014' / '._a.png'):
            path.write_bytes(b'Mac OS X')
        assert len(FSS1000Index(str(fss)).images_of(1)) == 10
        assert len(PascalVOCIndex(str(voc)).image_names()) == 20 and len(CocoMaskIndex(str(coco)).image_names()) == 80

    def test_what_systems_leave_in_folders(self, tmp_path):
        fss, own = write_fss(tmp_path / 'fss'), write_class_folders(tmp_path / 'own')
        for root in (fss, own):
            for name in ('__MACOSX', '.ipynb_checkpoints', '@eaDir', '.git'):
                (root / name / 'images').mkdir(parents=True)
        for folder in (own / 'ant' / 'images', own / 'ant' / 'masks', fss / 'ant'):
            for name in ('.DS_Store', 'Thumbs.db', '._0.jpg', '._0.png'):
                (folder / name).touch()
            (folder / '.ipynb_checkpoints').mkdir()
        assert FSS1000Index(str(fss)).classes == ('Eel', 'ant', 'bee', 'cat', 'dog')
        index = ImageFolderIndex(str(own))
        assert index.classes == ('ant', 'bee', 'cat', 'dog') and len(index.images_of(0)) == 4

    @pytest.mark.parametrize('form', ['NFC', 'NFD'])
    def test_names_in_both_unicode_forms(self, tmp_path, form):
        """The disk has one form for folders and images, the other for masks; a user writes either."""
        other = 'NFD' if form == 'NFC' else 'NFC'
        folder, name = unicodedata.normalize(form, 'caf\xe9'), unicodedata.normalize(other, '\xe91')
        save_image(tmp_path / folder / 'images' / f'{name}.png', 1)
        name = unicodedata.normalize(form, name)
        save_mask(tmp_path / folder / 'masks' / f'{name}.png', boxes_mask([(1, 0, 0, 5, 5)]))
        for classes in (None, ['cafe\u0301'], ['caf\xe9']):
            index = ImageFolderIndex(str(tmp_path), classes)
            # Lists have the composed form, so episodes do not depend on the disk.
            assert index.build_lists().images_of(0) == ['caf\xe9/images/\xe91.png']
            assert read_image(index.image_path('caf\xe9/images/\xe91.png')).shape == (*SIZE, 3)
            assert index.load_class_mask('caf\xe9/images/\xe91.png', 0).sum() == 25
            index.check_files(index.build_lists(), 'list')

    def test_image_sets_of_voc(self, tmp_path):
        write_voc(tmp_path, 1)
        stem = unicodedata.normalize('NFD', '\xe9')
        save_image(tmp_path / 'JPEGImages' / f'{stem}.jpg', 1)
        save_mask(tmp_path / 'SegmentationClassAug' / f'{stem}.png', boxes_mask([(3, 0, 0, 5, 5)]))
        path = tmp_path / 'ImageSets' / 'Segmentation' / 'own.txt'
        path.write_bytes('\ufeff2007_000000\r\n\r\n\xe9\r\n'.encode())
        index = PascalVOCIndex(str(tmp_path), image_set='ImageSets/Segmentation/own.txt')
        lists = index.build_lists()
        assert index.image_names() == ['2007_000000', '\xe9'] and lists.images_of(2) == ['\xe9']
        index.check_files(lists, 'list')
        assert index.load_class_mask('\xe9', 2).sum() == 25
        path.write_text('JPEGImages/2007_000000.jpg SegmentationClassAug/2007_000000.png\n')
        with pytest.raises(ValueError, match='own.txt, line 1: a line must be the stem of one image'):
            index.image_names()

    def test_images_that_do_not_show_their_class(self, tmp_path, monkeypatch):
        root = write_class_folders(tmp_path)
        for name in ('ant/masks/1.png', 'bee/masks/0.png'):
            save_mask(root / name, np.zeros((60, 80)))
        index = ImageFolderIndex(str(root))
        said = []
        monkeypatch.setattr(
            'mmfss.datasets.class_indices.folders.print_log', lambda message, **options: said.append(message))
        lists = index.build_lists()
        assert len(said) == 1 and '2 of 16 images' in said[0] and '"ant/images/1.jpg", "bee/images/0.jpg"' in said[0]
        assert [len(lists.pool(class_id)) for class_id in range(4)] == [3, 3, 4, 4]
        assert lists.images_of(0) == ['ant/images/0.jpg', 'ant/images/2.jpg', 'ant/images/3.jpg']
        assert len(index.build_lists([0]).pool(0)) == 3 and len(index.build_lists(min_pixels=0)) == 16

    def test_all_faults_of_masks_are_named_at_once(self, tmp_path):
        root = write_class_folders(tmp_path, num_images=6)
        for number in range(6):
            (root / 'ant' / 'masks' / f'{number}.png').write_bytes(b'no picture')
            (root / 'cat' / 'masks' / f'{number}.png').write_bytes(b'')
        with pytest.raises(ValueError, match=r'12 masks cannot be used in ".*":(\n.*ant/masks/\d.png.*){6}'
                           r'(\n.*cat/masks/\d.png.*){4}\nand 2 more\n.*check_dataset.py'):
            ImageFolderIndex(str(root)).build_lists()
        for number in range(6):
            (root / 'ant' / 'masks' / f'{number}.png').unlink()
        (root / 'dog' / 'masks').rename(root / 'dog' / 'mask')
        with pytest.raises(FileNotFoundError, match=r'7 files or folders are missing(.|\n)*"ant/images/5.jpg" has no '
                           r'mask(.|\n)*Class "dog": the folder ".*dog/masks" does not exist'):
            ImageFolderIndex(str(root))
        # Without checks, what has no partner is left out.
        index = ImageFolderIndex(str(root), check_files=False)
        assert [len(index.images_of(class_id)) for class_id in range(4)] == [0, 6, 6, 0]
        assert len(index.unmatched) == 7 and len(index.build_lists()) == 12

    def test_all_missing_files_are_counted(self, tmp_path):
        index = PascalVOCIndex(str(write_voc(tmp_path, 2)))
        lists = index.build_lists()
        for number in range(3):
            (tmp_path / 'JPEGImages' / f'2007_00{number}000.jpg').unlink()
        (tmp_path / 'SegmentationClassAug' / '2007_009000.png').unlink()
        with pytest.raises(FileNotFoundError, match=r'mine names 3 image\(s\) and 1 mask\(s\) that do not exist, '
                           r'first ".*2007_000000.jpg", ".*2007_001000.jpg", ".*2007_002000.jpg" and 1 more.*'
                           r'check_dataset.py'):
            index.check_files(lists, 'mine')

    def test_own_folder(self, tmp_path):
        for class_name in ('dog', 'cat'):
            save_image(tmp_path / class_name / 'images' / 'a.png', 1)
            save_mask(tmp_path / class_name / 'masks' / 'a.png', boxes_mask([(1, 0, 0, 5, 5), (255, 10, 10, 12, 12)]))
        save_image(tmp_path / 'cat' / 'images' / 'b.jpeg', 2)
        picture = np.zeros((*SIZE, 3), np.uint8)
        picture[:3, :4] = 255
        Image.fromarray(picture).save(tmp_path / 'cat' / 'masks' / 'b.png')  # drawn in white by a paint program
        index = ImageFolderIndex(str(tmp_path))
        assert index.classes == ('cat', 'dog')
        assert index.build_lists().images_of(0) == ['cat/images/a.png', 'cat/images/b.jpeg']
        assert index.load_class_mask('cat/images/a.png', 0).sum() == 29
        assert index.load_class_mask('cat/images/b.jpeg', 0).sum() == 12
        with_ignore = ImageFolderIndex(str(tmp_path), ignore_value=255).load_class_mask('cat/images/a.png', 0)
        assert (with_ignore == 1).sum() == 25 and (with_ignore == 255).sum() == 4
        assert with_ignore.dtype == np.uint8
        assert index.build_lists(min_pixels=20).images_of(0) == ['cat/images/a.png']

    def test_own_folder_with_ambiguous_stem(self, tmp_path):
        for file in ('a.png', 'a.jpg'):
            save_image(tmp_path / 'cat' / 'images' / file, 1)
        (tmp_path / 'cat' / 'masks').mkdir()
        with pytest.raises(ValueError, match='holds both a.jpg and a.png'):
            ImageFolderIndex(str(tmp_path))

    def test_empty_root(self, tmp_path):
        with pytest.raises(ValueError, match='holds no class folder'):
            ImageFolderIndex(str(tmp_path))

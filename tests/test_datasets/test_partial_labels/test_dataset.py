"""Data with few masks: VOC's layout, label files, pipelines, and what is refused."""
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmfss.datasets import PartialLabelDataset, VOCPartialDataset, read_image_labels, write_image_labels
from mmfss.registry import TRANSFORMS, register_all_modules
from mmfss.utils.config_options import ConfigError

CLASSES = VOCPartialDataset.METAINFO['classes']
XML = '<annotation><object><name>{}</name></object><object><name>person</name></object></annotation>'
PIPELINE = [
    dict(type='LoadImageFromFile'), dict(type='LoadPartialAnnotations', void='background'),
    dict(type='SquareCrop', size=16, random=True), dict(type='RandomFlip', prob=0.5),
    dict(type='PackPartialLabels', num_classes=21)]


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Twelve images; 0 to 5 have a mask, all but 5 an annotation, and 11 is of the test set."""
    register_all_modules(init_default_scope=True)
    for folder in ('JPEGImages', 'Annotations', 'SegmentationClass', 'ImageSets/Segmentation'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'ImageSets/Segmentation/val.txt').write_text('i11\n')
    rng = np.random.RandomState(0)
    for number in range(12):
        Image.fromarray(rng.randint(0, 255, (20, 30, 3), np.uint8)).save(tmp_path / f'JPEGImages/i{number:02d}.jpg')
        if number != 5:
            name = CLASSES[1 + number % 3]
            (tmp_path / f'Annotations/i{number:02d}.xml').write_text(XML.format(name))
        if number < 6:
            mask = np.zeros((20, 30), np.uint8)
            mask[:, 10:20], mask[:4] = 1 + number % 3, 255
            Image.fromarray(mask).save(tmp_path / f'SegmentationClass/i{number:02d}.png')
    return tmp_path


def build(root: Path, pipeline: list = PIPELINE, **changes: object) -> PartialLabelDataset:
    dataset = dict(type='VOCPartialDataset', data_root=str(root), pipeline=pipeline, **changes.pop('dataset', {}))
    return PartialLabelDataset(dataset, **changes)


def test_voc(voc: Path) -> None:
    dataset = VOCPartialDataset(data_root=str(voc), pipeline=[])
    assert len(dataset) == 11
    info = dataset.get_data_info(7)
    assert info['seg_map_path'] is None and [CLASSES[c] for c in info['image_labels']] == ['bicycle', 'person']
    assert dataset.get_data_info(5)['image_labels'] is None


def test_few_masks(voc: Path) -> None:
    dataset = build(voc, num_masks=3, batch_size=4)
    assert len(dataset) == 11 and len(dataset.masked) == 3 and set(dataset.masked) <= set(range(6))
    seen = [dataset[i] for i in range(16)]
    for batch in range(0, 16, 4):
        assert sum(item['data_samples'].has_mask for item in seen[batch:batch + 4]) == 2
    for item in seen:
        sample, labels = item['data_samples'], item['data_samples'].gt_image_labels
        target = sample.gt_sem_seg.data
        assert item['inputs'].shape == (3, 16, 16) and target.shape == (1, 16, 16) and labels[0] == 1
        if sample.has_mask:
            # What is left after the crop; void is background.
            assert set(target.unique().tolist()) - {0} == set(labels[1:].nonzero().flatten().add(1).tolist())
        else:
            assert target.unique().tolist() == [255] and labels.sum() in (2, 3)
    again = build(voc, num_masks=3, batch_size=4)
    assert again[9]['inputs'].equal(seen[9]['inputs'])


def test_share_and_all(voc: Path) -> None:
    assert len(build(voc, mask_share=0.5).masked) == 3 and len(build(voc).masked) == 6
    assert len(build(voc, mask_share=0.01).masked) == 1
    release = build(voc, num_masks=2, order='release', batch_size=4)
    assert sum(release[i]['data_samples'].has_mask for i in range(4)) == 2


def test_void_is_ignored(voc: Path) -> None:
    pipeline = [dict(step, void='ignore') if step['type'] == 'LoadPartialAnnotations' else step for step in PIPELINE]
    item = build(voc, pipeline, labelled_share=1.0)[0]
    assert 255 in item['data_samples'].gt_sem_seg.data.unique().tolist()


@pytest.mark.parametrize('suffix', ['csv', 'json'])
def test_label_files(voc: Path, suffix: str) -> None:
    path = voc / f'labels.{suffix}'
    if suffix == 'csv':
        write_image_labels(path, {f'i{n:02d}': (4, 15) for n in range(11)}, CLASSES)
        assert path.read_text().splitlines()[:2] == ['image,labels', 'i00,boat;person']
    else:
        path.write_text('{"JPEGImages/i07.jpg": ["boat", "person"]}')
    assert read_image_labels(path, CLASSES)['i07'] == (4, 15)
    dataset = build(voc, image_labels=str(path))
    assert dataset.dataset.get_data_info(7)['image_labels'] == (4, 15)


class TestBadInput:

    def test_neither_annotation_nor_mask(self, voc: Path) -> None:
        (voc / 'Annotations/i08.xml').unlink()
        with pytest.raises(FileNotFoundError, match='i08.jpg" has neither an annotation .* nor a mask'):
            build(voc)

    def test_unknown_class(self, voc: Path) -> None:
        (voc / 'Annotations/i08.xml').write_text(XML.format('unicorn'))
        with pytest.raises(ValueError, match='i08.xml" names the class "unicorn".*aeroplane'):
            build(voc)

    @pytest.mark.parametrize('text', ['<annotation>', '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>'])
    def test_damaged_annotation(self, voc: Path, text: str) -> None:
        (voc / 'Annotations/i08.xml').write_text(text)
        with pytest.raises(ValueError, match='The annotation ".*i08.xml"'):
            build(voc)

    def test_too_few_masks(self, voc: Path) -> None:
        with pytest.raises(ConfigError, match='7 masks were asked for .* only 6 of the 11 images'):
            build(voc, num_masks=7)

    @pytest.mark.parametrize(('changes', 'message'), [
        (dict(num_masks=3, mask_share=0.1), 'num_masks or mask_share, not both'), (dict(num_masks=0), '1 or more'),
        (dict(uniform=2.), 'uniform must be from 0 to 1'), (dict(order='random'), 'one of seeded, release'),
        (dict(dataset=dict(num_images=15676)), 'has 11 images for training, not num_images=15676'),
        (dict(image_labels='none.csv'), 'none.csv" does not exist.*image_labels.py')])
    def test_arguments(self, voc: Path, changes: dict, message: str) -> None:
        with pytest.raises((ConfigError, ValueError, FileNotFoundError), match=message):
            build(voc, **changes)

    @pytest.mark.parametrize(('text', 'message'), [
        ('name,classes\n', 'must have the columns image,labels'), ('image,labels\ni1,dragon\n', 'class "dragon"'),
        ('image,labels\na/i1.jpg,cat\ni1,dog\n', 'the image "i1" twice')])
    def test_label_file(self, tmp_path: Path, text: str, message: str) -> None:
        path = tmp_path / 'labels.csv'
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_image_labels(path, CLASSES)

    def test_void(self) -> None:
        with pytest.raises(ValueError, match="void must be 'ignore' or 'background'"):
            TRANSFORMS.build(dict(type='mmfss.LoadPartialAnnotations', void='class'))


def test_photometric_transforms() -> None:
    image = np.full((40, 40, 3), 100, np.uint8)
    image[:, 20:] = 200
    np.random.seed(0)
    for name, spread in (('RandomBrightnessContrast', 0.), ('RandomGaussianNoise', 5.)):
        changed = TRANSFORMS.build(dict(type=f'mmfss.{name}'))(dict(img=image.copy()))['img']
        assert changed.dtype == np.uint8 and abs(float(changed[:, :20].std()) - spread) < 2.5
    blurred = TRANSFORMS.build(dict(type='mmfss.RandomDefocus', radius=(3, 3)))(dict(img=image.copy()))['img']
    assert np.all(blurred[:, :16] == 100) and 100 < blurred[20, 20, 0] < 200


def test_square_crop() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    labels = np.repeat(np.arange(30, dtype=np.uint8)[None], 20, 0)
    crop = TRANSFORMS.build(dict(type='mmfss.SquareCrop', size=10, as_original=True))
    out = crop(dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map'], ori_shape=(20, 30)))
    assert out['img'].shape == (10, 10, 3) and out['ori_shape'] == (10, 10)
    assert out['gt_seg_map'].min() >= 5 and out['gt_seg_map'].max() < 25

import numpy as np
import pytest
import torch
from mmcv.transforms import Resize
from mmengine.registry import DefaultScope
from PIL import Image
from torch.nn import functional as F

from mmfss.datasets import FSS1000Index, LoadClassMask, ResizeEpisodeImage
from mmfss.datasets.transforms import resize_nearest
from mmfss.registry import TRANSFORMS
from tests.test_datasets.layouts import boxes_mask, save_mask, write_fss


def image_results(tmp_path, name='ant/1.jpg', role='query', class_ids=(0,)):
    index = FSS1000Index(str(write_fss(tmp_path, ['ant', 'bee'])))
    return dict(
        name=name,
        img_path=index.image_path(name),
        role=role,
        mask_class_ids=class_ids,
        class_index=index,
        seg_fields=[],
    )


def episode_results(tmp_path, **kwargs):
    query = image_results(tmp_path, **kwargs)
    support = [
        dict(
            query,
            name=f'ant/{number}.jpg',
            img_path=query['img_path'].replace('1.jpg', f'{number}.jpg'),
            role='support',
            seg_fields=[],
        )
        for number in (2, 3)
    ]
    return dict(episode_index=4, class_ids=[0], class_names=['ant'], query=query, support=[support])


class TestResize:
    @pytest.mark.parametrize('size', [(224, 224), (375, 500), (427, 640), (31, 977)])
    def test_image_equals_pillow_and_mask_equals_torch(self, size):
        rng = np.random.RandomState(0)
        image = rng.randint(0, 256, (*size, 3), dtype=np.uint8)
        labels = rng.randint(0, 256, size, dtype=np.uint8)
        results = ResizeEpisodeImage(scale=[384, 384])(dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map']))
        expected = np.asarray(Image.fromarray(image[..., ::-1].copy()).resize((384, 384), Image.BILINEAR))[..., ::-1]
        np.testing.assert_array_equal(results['img'], expected)
        official = F.interpolate(torch.from_numpy(labels).float()[None, None], (384, 384), mode='nearest')[0, 0]
        np.testing.assert_array_equal(results['gt_seg_map'], official.numpy())
        assert results['gt_seg_map'].dtype == np.uint8 and results['img_shape'] == (384, 384)

    @pytest.mark.parametrize('args', [dict(scale=(40, 30)), dict(scale=(40, 30), keep_ratio=True)])
    def test_a_reversed_view_of_rgb_pixels(self, args):
        image = np.random.RandomState(0).randint(0, 256, (60, 90, 3), dtype=np.uint8)[..., ::-1]
        resized = ResizeEpisodeImage(**args)(dict(img=image))
        expected = ResizeEpisodeImage(**args)(dict(img=image.copy()))
        assert resized['img'].flags.c_contiguous  # what OpenCV's transforms need
        np.testing.assert_array_equal(resized.pop('img'), expected.pop('img'))
        assert resized == expected

    def test_opencv_nearest_would_be_wrong_for_fss(self):
        labels = np.random.RandomState(0).randint(0, 256, (224, 224), dtype=np.uint8)
        opencv = Resize(scale=(384, 384))(dict(img=np.zeros((224, 224, 3), np.uint8), gt_seg_map=labels))['gt_seg_map']
        assert 0.005 < (opencv != resize_nearest(labels, (384, 384))).mean() < 0.03

    def test_scale_is_width_height_and_ratio_can_be_kept(self):
        results = dict(
            img=np.zeros((20, 40, 3), np.uint8), gt_seg_map=np.ones((20, 40), np.uint8), seg_fields=['gt_seg_map']
        )
        wide = ResizeEpisodeImage(scale=(60, 30))(dict(results))
        assert wide['img'].shape == (30, 60, 3) and wide['gt_seg_map'].shape == (30, 60)
        kept = ResizeEpisodeImage(scale=(60, 60), keep_ratio=True)(dict(results))
        assert kept['gt_seg_map'].shape == kept['img'].shape[:2] == (30, 60)


class TestLoadClassMask:
    def test_original_is_kept_for_the_query_only(self, tmp_path):
        results = image_results(tmp_path)
        support = LoadClassMask(keep_original=True)(dict(results, role='support', seg_fields=[]))
        query = LoadClassMask(keep_original=True)(results)
        assert query['seg_fields'] == support['seg_fields'] == ['gt_seg_map']
        assert 'gt_seg_map_ori' in query and 'gt_seg_map_ori' not in support
        assert query['gt_seg_map_ori'] is not query['gt_seg_map']

    def test_empty_support_is_an_error_and_empty_query_is_not(self, tmp_path):
        results = image_results(tmp_path, role='support')
        save_mask(tmp_path / 'ant' / '1.png', boxes_mask([]))
        with pytest.raises(ValueError, match=r'support mask of class "ant" in image "ant/1.jpg" is empty .*ant/1.png'):
            LoadClassMask()(results)
        assert not LoadClassMask()(dict(results, role='query', seg_fields=[]))['gt_seg_map'].any()

    def test_size_of_the_mask(self, tmp_path):
        results = image_results(tmp_path)
        save_mask(tmp_path / 'ant' / '1.png', boxes_mask([(255, 0, 0, 9, 9)], (30, 24)))
        results['class_index'].resizes_masks = False  # as of every dataset but FSS-1000
        with pytest.raises(ValueError, match=r'ant/1.png has size \(30, 24\) .*, its image .*ant/1.jpg has \(24, 30\)'):
            LoadClassMask()(TRANSFORMS.build(dict(type='LoadEpisodeImage'))(results))


LOAD = [dict(type='LoadEpisodeImage'), dict(type='LoadClassMask', keep_original=True)]


def run(results, *steps, **pack):
    for step in (dict(type='ForEachImage', transforms=[*LOAD, *steps]), dict(type='PackEpisodeInputs', **pack)):
        results = TRANSFORMS.build(step)(results)
    return results


class TestEpisode:
    def test_packed_episode(self, tmp_path):
        packed = run(episode_results(tmp_path), dict(type='ResizeEpisodeImage', scale=(40, 32)))
        inputs, sample = packed['inputs'], packed['data_samples']
        assert inputs['query'].shape == (3, 32, 40) and inputs['query'].dtype == torch.uint8
        assert inputs['support'].shape == (1, 2, 3, 32, 40) and inputs['support'].is_contiguous()
        assert sample.gt_sem_seg.data.shape == (1, 32, 40) and sample.gt_sem_seg.data.dtype == torch.int64
        assert sample.gt_sem_seg_ori.data.shape == (1, 24, 30) and sample.gt_sem_seg_ori.data.sum() == 101
        assert sample.support_sem_seg.shape == (1, 2, 32, 40) and sample.support_sem_seg.dtype == torch.uint8
        assert sample.episode_index == 4 and sample.class_ids == [0] and sample.class_names == ['ant']
        assert sample.query_name == 'ant/1.jpg' and sample.support_names == [['ant/2.jpg', 'ant/3.jpg']]
        assert sample.img_path.endswith('ant/1.jpg') and sample.support_paths[0][1].endswith('ant/3.jpg')
        assert sample.ori_shape == (24, 30) and sample.img_shape == (32, 40)
        assert sample.support_ori_shapes == [[(24, 30), (24, 30)]]
        image = np.asarray(Image.open(sample.support_paths[0][1]).resize((40, 32), Image.BILINEAR))
        np.testing.assert_array_equal(inputs['support'][0, 1].numpy(), image[..., ::-1].transpose(2, 0, 1))

    def test_mmseg_augmentations(self, tmp_path):
        np.random.seed(0)
        resize = dict(
            type='RandomResize',
            scale=(60, 48),
            ratio_range=(1.0, 1.5),
            resize_type='ResizeEpisodeImage',
            keep_ratio=True,
        )
        steps = [
            dict(type='RandomFlip', prob=1.0),
            dict(type='PhotoMetricDistortion'),
            resize,
            dict(type='RandomCrop', crop_size=(20, 22)),
            dict(type='RandomRotate', prob=0.5, degree=10, seg_pad_val=255),
        ]
        with DefaultScope.overwrite_default_scope('mmfss'):  # as in a Runner; RandomResize builds its resize by name
            packed = run(episode_results(tmp_path), *steps)
        assert packed['inputs']['support'].shape == (1, 2, 3, 20, 22)
        assert packed['data_samples'].support_sem_seg.shape == (1, 2, 20, 22)
        assert packed['data_samples'].flip is True

    def test_flip_moves_image_and_mask_alike(self, tmp_path):
        plain, flipped = (run(episode_results(tmp_path), *steps) for steps in ([], [dict(type='RandomFlip', prob=1.0)]))
        torch.testing.assert_close(flipped['inputs']['query'], plain['inputs']['query'].flip(-1))
        torch.testing.assert_close(
            flipped['data_samples'].gt_sem_seg.data, plain['data_samples'].gt_sem_seg.data.flip(-1)
        )

    def test_images_draw_anew(self, tmp_path):
        np.random.seed(0)
        results = episode_results(tmp_path)
        results['support'] = [[dict(results['query'], role='support', seg_fields=[]) for _ in range(8)]]
        support = run(results, dict(type='RandomFlip', prob=0.5))['inputs']['support'][0]
        assert len({image.numpy().tobytes() for image in support}) == 2

    def test_object_that_vanishes_by_resizing_is_kept(self, tmp_path):
        results = episode_results(tmp_path)
        save_mask(tmp_path / 'ant' / '2.png', boxes_mask([(255, 1, 1, 2, 2)]))
        masks = run(results, dict(type='ResizeEpisodeImage', scale=(10, 8)))['data_samples'].support_sem_seg
        assert masks[0, 0].sum() == 0 and masks[0, 1].sum() > 0

    def test_meta_keys(self, tmp_path):
        sample = run(episode_results(tmp_path), meta_keys=('role', 'absent'))['data_samples']
        assert sample.role == 'query' and 'absent' not in sample

    def test_images_of_different_sizes(self, tmp_path):
        with pytest.raises(ValueError, match=r'ant/3.jpg" has size .* Add ResizeEpisodeImage'):
            results = episode_results(tmp_path)
            Image.new('RGB', (31, 24)).save(tmp_path / 'ant' / '3.jpg')
            save_mask(tmp_path / 'ant' / '3.png', boxes_mask([(255, 0, 0, 9, 9)], (24, 31)))
            run(results)

    def test_pipeline_without_masks(self, tmp_path):
        results = TRANSFORMS.build(dict(type='ForEachImage', transforms=LOAD[:1]))(episode_results(tmp_path))
        with pytest.raises(ValueError, match='LoadClassMask'):
            TRANSFORMS.build(dict(type='PackEpisodeInputs'))(results)

    def test_transform_that_drops_an_image(self, tmp_path):
        from mmfss.datasets import ForEachImage

        with pytest.raises(ValueError, match='dropped the image .*ant/1.jpg'):
            ForEachImage([lambda results: None])(episode_results(tmp_path))

    def test_reprs(self):
        text = repr(TRANSFORMS.build(dict(type='ForEachImage', transforms=LOAD)))
        assert text.startswith('ForEachImage(transforms=[LoadEpisodeImage(color_type=') and 'keep_original=True' in text
        with pytest.raises(ValueError, match='color_type'):
            TRANSFORMS.build(dict(type='LoadEpisodeImage', color_type='grey'))

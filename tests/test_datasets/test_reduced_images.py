"""JPEG files decoded at a reduced size."""
import numpy as np
import pytest
from PIL import Image

from mmfss.datasets import ImageFolderDataset, LoadEpisodeImage
from mmfss.datasets.images import read_image, read_reduced_image

SIZE = (400, 300)  # width, height


def picture(size=SIZE):
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def dataset(root, **loading):
    pipeline = [
        dict(type='ForEachImage', transforms=[
            dict(type='LoadEpisodeImage', **loading), dict(type='LoadClassMask', keep_original=True),
            dict(type='ResizeEpisodeImage', scale=(96, 96))]),
        dict(type='PackEpisodeInputs')]
    return ImageFolderDataset(str(root), pipeline, class_ids=['mug'], num_shots=1, num_episodes=4)


@pytest.fixture
def root(tmp_path):
    for part in ('images', 'masks'):
        (tmp_path / 'mug' / part).mkdir(parents=True)
    for number in range(3):
        exif = Image.Exif()
        exif[0x0112] = (1, 6, 8)[number]  # turned by 90 degrees in two of three
        picture().save(tmp_path / f'mug/images/{number}.jpg', quality=95, exif=exif)
        size = SIZE if number == 0 else SIZE[::-1]
        mask = np.zeros(size[::-1], np.uint8)
        mask[37:201, 20:133] = 255
        Image.fromarray(mask).save(tmp_path / f'mug/masks/{number}.png')
    return tmp_path


@pytest.mark.parametrize('wanted, expected', [((100, 75), (75, 100)), ((101, 75), (150, 200)), ((400, 10), (300, 400)),
                                              ((1000, 1000), (300, 400)), ((1, 1), (38, 50))])
def test_the_smallest_size_that_is_enough(tmp_path, wanted, expected):
    picture().save(tmp_path / 'a.jpg')
    image, size = read_reduced_image(tmp_path / 'a.jpg', wanted)
    assert image.shape == (*expected, 3) and size == (300, 400)


def test_whole_pictures_are_as_before(tmp_path):
    for name, mode in (('a.jpg', 'RGB'), ('b.jpg', 'L'), ('c.jpg', 'CMYK'), ('d.png', 'RGB')):
        picture().convert(mode).save(tmp_path / name)
        image, size = read_reduced_image(tmp_path / name, SIZE)
        np.testing.assert_array_equal(image, read_image(tmp_path / name))
        assert size == (300, 400)


def test_episodes_keep_their_masks(root):
    whole, reduced = dataset(root), dataset(root, reduce_to=(96, 96))
    for before, after in zip(whole, reduced):
        old, new = before['data_samples'], after['data_samples']
        np.testing.assert_array_equal(new.gt_sem_seg.data, old.gt_sem_seg.data)
        np.testing.assert_array_equal(new.support_sem_seg, old.support_sem_seg)
        np.testing.assert_array_equal(new.gt_sem_seg_ori.data, old.gt_sem_seg_ori.data)
        assert new.ori_shape == old.ori_shape and new.support_ori_shapes == old.support_ori_shapes
        for name in ('query', 'support'):
            pair = before['inputs'][name].float(), after['inputs'][name].float()
            assert 0 < (pair[0] - pair[1]).abs().mean() < 1


@pytest.mark.parametrize('size', [(200, 150), (100, 75), (401, 300)])  # the first is that of the decoded image
def test_a_mask_of_another_size_is_still_an_error(root, size):
    Image.new('L', size, 255).save(root / 'mug/masks/0.png')
    with pytest.raises(ValueError, match=r'its image .*0.jpg has \(300, 400\)'):
        list(dataset(root, reduce_to=(96, 96)))


def test_a_wrong_size_is_refused():
    with pytest.raises(ValueError, match='reduce_to must be'):
        LoadEpisodeImage(reduce_to=(0, 5))

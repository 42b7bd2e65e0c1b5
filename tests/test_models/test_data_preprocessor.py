import pytest
import torch

from mmfss.models import EpisodeDataPreProcessor


def data(*sizes: tuple) -> dict:
    images = [torch.arange(3 * h * w, dtype=torch.uint8).view(3, h, w) for h, w in sizes]
    support = [image.view(1, 1, *image.shape) for image in images]
    return dict(inputs=dict(query=images, support=support), data_samples=None)


def test_normalizes_rgb() -> None:
    preprocessor = EpisodeDataPreProcessor(mean=[1, 2, 3], std=[2, 4, 8])
    out = preprocessor(data((2, 2), (2, 2)))['inputs']
    assert out['query'].shape == (2, 3, 2, 2) and out['support'].shape == (2, 1, 1, 3, 2, 2)
    blue_green_red = torch.arange(12.).view(3, 2, 2)
    for channel, (mean, std) in enumerate(zip((1, 2, 3), (2, 4, 8))):
        expected = (blue_green_red[2 - channel] - mean) / std
        assert torch.equal(out['query'][0, channel], expected)
        assert torch.equal(out['support'][1, 0, 0, channel], expected)


def test_keeps_bgr() -> None:
    out = EpisodeDataPreProcessor(mean=[0] * 3, std=[1] * 3, bgr_to_rgb=False)(data((2, 2)))['inputs']
    assert torch.equal(out['query'][0], torch.arange(12.).view(3, 2, 2))


def test_images_of_different_sizes() -> None:
    message = r'query images of a batch must have one shape.*\(3, 2, 2\), \(3, 2, 4\).*batch_size=1'
    with pytest.raises(ValueError, match=message):
        EpisodeDataPreProcessor()(data((2, 2), (2, 4)))


def test_three_channels() -> None:
    with pytest.raises(ValueError, match='mean and std must have 3 values'):
        EpisodeDataPreProcessor(mean=[0.5], std=[0.5])


def test_statistics_stay_out_of_checkpoints() -> None:
    assert EpisodeDataPreProcessor().state_dict() == {}

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmengine.structures import PixelData
from torch.utils.data import DataLoader

from mmfss.datasets import stack_episodes
from mmfss.models import EpisodeDataPreProcessor
from mmfss.registry import DATASETS, register_all_modules
from mmfss.structures import EpisodeDataSample, StackedSamples


def episode(number, side=8, shots=2):
    generator = torch.Generator().manual_seed(number)

    def draw(*shape):
        return torch.randint(256, shape, dtype=torch.uint8, generator=generator)

    sample = EpisodeDataSample(metainfo=dict(episode_index=number, class_ids=[number]))
    sample.gt_sem_seg = PixelData(data=draw(1, side, side).long())
    sample.support_sem_seg = draw(1, shots, side, side)
    return dict(inputs=dict(query=draw(3, side, side), support=draw(1, shots, 3, side, side)), data_samples=sample)


class Episodes(torch.utils.data.Dataset):

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return episode(index)


def assert_same(found, expected):
    for name in ('query', 'support'):
        assert torch.equal(found['inputs'][name], expected['inputs'][name])
    assert len(found['data_samples']) == len(expected['data_samples'])
    for one, other in zip(found['data_samples'], expected['data_samples']):
        assert one.metainfo == other.metainfo and one.gt_sem_seg.data.dtype == torch.int64
        assert torch.equal(one.gt_sem_seg.data, other.gt_sem_seg.data)
        assert torch.equal(one.support_sem_seg, other.support_sem_seg)


@pytest.mark.parametrize('workers', [0, 1])
def test_the_model_sees_the_same_batch(workers):
    prepare = EpisodeDataPreProcessor()
    stacked, = DataLoader(Episodes(), 4, num_workers=workers, collate_fn=stack_episodes)
    assert isinstance(stacked['data_samples'], StackedSamples)
    assert stacked['data_samples'].target.dtype == torch.uint8
    assert stacked['inputs']['query'].is_shared() == bool(workers)
    assert_same(prepare(stacked), prepare(pseudo_collate([episode(number) for number in range(4)])))


def test_images_of_several_sizes_are_the_same_error():
    batch = stack_episodes([episode(0), episode(1, side=16)])
    with pytest.raises(ValueError, match='must have one shape'):
        EpisodeDataPreProcessor()(batch)


def test_samples_with_more_in_them_stay_a_list():
    items = [episode(0), episode(1)]
    for item in items:
        item['data_samples'].gt_sem_seg_ori = PixelData(data=torch.zeros(1, 5, 5, dtype=torch.int64))
    batch = stack_episodes(items)
    assert isinstance(batch['data_samples'], list) and isinstance(batch['inputs']['query'], torch.Tensor)
    assert EpisodeDataPreProcessor()(batch)['data_samples'][0].gt_sem_seg_ori.shape == (5, 5)


def test_configs_find_it_by_name():
    register_all_modules(init_default_scope=True)
    DATASETS.register_module(module=Episodes, force=True)
    loader = Runner.build_dataloader(dict(
        dataset=dict(type='Episodes'), batch_size=2, num_workers=0, sampler=dict(type='EpisodeStream'),
        collate_fn=dict(type='mmfss.stack_episodes')))
    assert isinstance(next(iter(loader))['data_samples'], StackedSamples)

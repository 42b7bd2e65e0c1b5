from pathlib import Path

import pytest
import torch

from mmfss.datasets.control_datasets import WrongSupportDataset
from mmfss.registry import DATASETS
from tests.tiny.data import PIPELINE, write_class_folders


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp('data'))


def dataset_config(root: Path, **kwargs) -> dict:
    defaults = dict(split='test', fold=None, num_shots=2, sampler=dict(type='UniformEpisodeSampler', num_episodes=12))
    index = dict(type='ImageFolderIndex', data_root=str(root))
    return dict(type='EpisodicDataset', index=index, pipeline=PIPELINE, **{**defaults, **kwargs})


class TestWrongSupportDataset:

    @pytest.mark.parametrize('ways', [1, 2])
    def test_only_the_supports_change(self, root: Path, ways: int) -> None:
        right = DATASETS.build(dataset_config(root, num_ways=ways))
        wrong = DATASETS.build(dict(type='WrongSupportDataset', dataset=dataset_config(root, num_ways=ways)))
        assert len(wrong) == 12 and wrong.metainfo == right.metainfo
        for a, b in zip(right, wrong):
            assert torch.equal(a['inputs']['query'], b['inputs']['query'])
            a, b = a['data_samples'], b['data_samples']
            assert torch.equal(a.gt_sem_seg.data, b.gt_sem_seg.data)
            assert (a.class_ids, a.query_name, a.episode_index) == (b.class_ids, b.query_name, b.episode_index)
            assert all((mask == 1).any() for group in b.support_sem_seg for mask in group)
            for name, group in zip(b.class_names, b.support_names):
                assert all(support.split('/')[0] != name and support != b.query_name for support in group)

    def test_function_of_seed_and_index(self, root: Path) -> None:
        first, again, other = (WrongSupportDataset(dataset_config(root), seed) for seed in (0, 0, 1))
        donors = [first.donor(i) for i in range(12)]
        assert [again.donor(i) for i in reversed(range(12))] == donors[::-1]
        assert [other.donor(i) for i in range(12)] != donors
        assert len(set(donors)) > 3

    def test_no_other_class(self, root: Path) -> None:
        dataset = DATASETS.build(dataset_config(root, class_ids=['bee']))
        with pytest.raises(ValueError, match='supports of other classes'):
            WrongSupportDataset(dataset)[0]

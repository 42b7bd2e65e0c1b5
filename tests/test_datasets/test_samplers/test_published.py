import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mmfss.datasets import (
    ClassLists,
    COCO20iDataset,
    FSS1000Dataset,
    Pascal5iDataset,
    PublishedProtocolSampler,
    episodes_text,
)

DATA = Path(__file__).parents[2] / 'data' / 'datasets'
GOLDEN = json.loads((DATA / 'published_episodes.json').read_text())
CASES = [key.split('/') for key in GOLDEN]


def fold_lists(benchmark, fold):
    """Lists as long as the published ones, with the names of the images that the published episodes show.

    All other places have a name of their own that occurs in no episode, so a sampler that draws another place gives
    another text.
    """
    with np.load(DATA / 'published_episodes.npz') as stored:
        if benchmark == 'fss':
            categories = stored['fss_categories'].tobytes().decode().split('\n')
            files = sorted(f'{number}.jpg' for number in range(1, 11))
            return ClassLists.from_dict(
                {760 + place: [f'{name}/{file}' for file in files] for place, name in enumerate(categories)}
            )
        part = {key: stored[f'{benchmark}{fold}_{key}'] for key in ('run_classes', 'run_lengths', 'steps', 'images')}
    class_ids = np.repeat(part['run_classes'], part['run_lengths'])
    names = [f'not-drawn-{place}' for place in range(len(class_ids))]
    for place, image in zip(np.cumsum(part['steps'].astype(int)) - 1, part['images'].tolist()):
        coco_name = f'val2014/COCO_val2014_{image:012d}.jpg'
        names[place] = coco_name if benchmark == 'coco' else f'{image // 1000000}_{image % 1000000:06d}'
    return ClassLists(class_ids, names)


@pytest.mark.parametrize('benchmark, fold, shots', CASES)
def test_official_episodes(benchmark, fold, shots):
    golden = GOLDEN[f'{benchmark}/{fold}/{shots}']
    lists = fold_lists(benchmark, int(fold[-1]))
    class_ids = np.unique(lists.class_ids).tolist()
    sampler = PublishedProtocolSampler(lists, class_ids, num_shots=int(shots[-1]), benchmark=benchmark)
    assert len(sampler) == golden['n']
    assert hashlib.sha256(episodes_text(sampler).encode()).hexdigest() == golden['sha256']
    repeated = sum(len(set(episode.supports[0])) < sampler.num_shots for episode in sampler)
    assert repeated == golden['repeat_support']


@pytest.mark.skipif(
    'MMFSS_SPLITS' not in os.environ, reason='set MMFSS_SPLITS to the folder of the published split lists'
)
@pytest.mark.parametrize('benchmark, fold, shots', CASES)
def test_official_episodes_from_the_published_lists(benchmark, fold, shots, tmp_path):
    """The datasets themselves on the whole lists; images are not needed."""
    splits = os.environ['MMFSS_SPLITS']
    args = dict(
        data_root=str(tmp_path),
        pipeline=[],
        num_shots=int(shots[-1]),
        split_dir=f'{splits}/{benchmark}',
        check_files=False,
        sampler=dict(type='PublishedProtocolSampler', benchmark=benchmark),
    )
    if benchmark == 'fss':
        for name in (Path(splits) / 'fss' / 'test.txt').read_text().split():
            (tmp_path / name).mkdir()
            for number in range(1, 11):
                (tmp_path / name / f'{number}.jpg').touch()
        dataset = FSS1000Dataset(**args)
    elif benchmark == 'coco':
        (tmp_path / 'val2014').mkdir()
        (tmp_path / 'annotations' / 'val2014').mkdir(parents=True)
        dataset = COCO20iDataset(fold=int(fold[-1]), masks='png', **args)
    else:
        (tmp_path / 'JPEGImages').mkdir()
        (tmp_path / 'SegmentationClassAug').mkdir()
        dataset = Pascal5iDataset(fold=int(fold[-1]), **args)
    assert dataset.metainfo['lists_official']
    digest = hashlib.sha256(episodes_text(dataset.sampler).encode()).hexdigest()
    assert digest == GOLDEN[f'{benchmark}/{fold}/{shots}']['sha256']


LISTS = ClassLists.from_dict(
    {class_id: [f'c{class_id}/{number}.jpg' for number in range(1, 11)] for class_id in range(5)}
)


@pytest.mark.parametrize('benchmark', ['pascal', 'coco', 'fss'])
def test_more_ways_keep_the_one_way_episode(benchmark):
    one = PublishedProtocolSampler(LISTS, range(5), num_shots=2, benchmark=benchmark, num_episodes=40)
    three = PublishedProtocolSampler(LISTS, range(5), num_ways=3, num_shots=2, benchmark=benchmark, num_episodes=40)
    places = set()
    for narrow, wide in zip(one, three):
        assert wide.query == narrow.query and len(set(wide.class_ids)) == 3
        place = wide.class_ids.index(narrow.class_ids[0])
        assert wide.supports[place] == narrow.supports[0]
        places.add(place)
        for class_id, group in zip(wide.class_ids, wide.supports):
            assert len(group) == 2 and narrow.query not in group
            assert all(name.startswith(f'c{class_id}/') for name in group)
    assert places == {0, 1, 2}


def test_order_of_access_and_pickling_change_nothing():
    sampler = PublishedProtocolSampler(LISTS, range(5), benchmark='coco', num_episodes=30)
    backwards = [sampler[index] for index in reversed(range(30))]
    assert list(pickle.loads(pickle.dumps(sampler))) == backwards[::-1]
    with pytest.raises(IndexError):
        sampler[30]


def test_fewer_episodes_are_a_prefix():
    long, short = (
        PublishedProtocolSampler(LISTS, range(5), benchmark='coco', num_episodes=number) for number in (30, 10)
    )
    assert list(long)[:10] == list(short)


def test_supports_may_repeat_but_two_images_are_needed():
    lists = ClassLists.from_dict({0: ['a', 'b'], 1: ['c']})
    assert all(
        set(episode.supports[0]) == {'b'}
        for episode in PublishedProtocolSampler(lists, [0], num_shots=5, num_episodes=2)
        if episode.query == 'a'
    )
    with pytest.raises(ValueError, match=r'Class with id 1 has 1 image\(s\)'):
        PublishedProtocolSampler(lists, [0, 1])
    with pytest.raises(ValueError, match='benchmark must be'):
        PublishedProtocolSampler(lists, [0], benchmark='voc')


def test_absent_class():
    lists = ClassLists.from_dict({0: ['a', 'b']})
    assert len(PublishedProtocolSampler(lists, [0, 1], benchmark='pascal')) == 1000
    with pytest.raises(ValueError, match=r'Class with id 1 has 0 image\(s\)'):
        PublishedProtocolSampler(lists, [0, 1], benchmark='coco')

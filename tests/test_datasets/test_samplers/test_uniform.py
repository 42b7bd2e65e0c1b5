from collections import Counter
from itertools import islice

import numpy as np
import pytest

from mmfss.datasets import ClassLists, EpisodeStream, UniformEpisodeSampler

LISTS = ClassLists.from_dict(
    {class_id: [f'c{class_id}_{number}' for number in range(8 + class_id)] for class_id in range(6)}
)
DEFAULT_ARGS = dict(lists=LISTS, class_ids=range(6), num_episodes=50, seed=3)


def build(**kwargs):
    return UniformEpisodeSampler(**{**DEFAULT_ARGS, **kwargs})


@pytest.mark.parametrize('num_ways, num_shots', [(1, 1), (1, 5), (3, 2), (6, 7)])
@pytest.mark.parametrize('order', ['class', 'list'])
def test_an_episode_is_what_it_says(num_ways, num_shots, order):
    for episode in build(num_ways=num_ways, num_shots=num_shots, order=order):
        assert len(set(episode.class_ids)) == num_ways == len(episode.supports)
        assert int(episode.query[1]) in episode.class_ids
        for class_id, group in zip(episode.class_ids, episode.supports):
            assert len(set(group)) == num_shots and episode.query not in group
            assert all(name.startswith(f'c{class_id}_') for name in group)


@pytest.mark.parametrize('order', ['class', 'list'])
def test_pure_function_of_seed_and_index(order):
    episodes = list(build(order=order, num_ways=2))
    other = build(order=order, num_ways=2, num_episodes=7)
    shuffled = {index: other[index] for index in np.random.RandomState(0).permutation(50).tolist()}
    assert [shuffled[index] for index in range(50)] == episodes
    assert list(build(order=order, num_ways=2, seed=4)) != episodes


def test_the_stream_of_numpy_is_frozen():
    episode = build(num_ways=2, num_shots=2)[1000000]
    assert episode == ((2, 4), 'c4_2', (('c2_2', 'c2_6'), ('c4_0', 'c4_9')))


def test_classes_and_images_are_uniform():
    episodes = [build()[index] for index in range(6000)]
    classes = Counter(episode.class_ids[0] for episode in episodes)
    assert all(abs(classes[class_id] - 1000) < 130 for class_id in range(6))  # more than four standard deviations
    supports = Counter(episode.supports[0][0] for episode in episodes if episode.class_ids[0] == 0)
    assert len(supports) == 8 and max(supports.values()) < 2 * min(supports.values())


def test_the_query_class_has_no_fixed_place():
    places = Counter(episode.class_ids.index(int(episode.query[1])) for episode in build(num_ways=3, num_episodes=300))
    assert all(places[place] > 60 for place in range(3))


def test_list_order_uses_each_item_once_per_pass():
    sampler = build(order='list', num_episodes=None)
    assert len(sampler) == len(LISTS) == sum(range(8, 14))
    passes = [[sampler[epoch * len(sampler) + place].query for place in range(len(sampler))] for epoch in range(2)]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(LISTS.names.tolist()) and passes[0] != passes[1]
    assert len(build(order='class', num_episodes=None)) == LISTS.num_images


def test_shared_images_are_supports_once_where_possible():
    shared = ClassLists.from_dict({0: ['a', 'b', 'c', 'd'], 1: ['a', 'b', 'c', 'd']})
    for episode in UniformEpisodeSampler(shared, range(2), num_ways=2, num_shots=1, num_episodes=30):
        assert len({episode.query, *episode.supports[0], *episode.supports[1]}) == 3
    for episode in UniformEpisodeSampler(shared, range(2), num_ways=2, num_shots=3, num_episodes=30):
        assert all(len(set(group) - {episode.query}) == 3 for group in episode.supports)


def test_images_that_a_list_repeats(monkeypatch):
    class Limited(np.random.RandomState):
        draws = 0

        def randint(self, *args, **kwargs):
            self.draws += 1
            assert self.draws < 100_000, 'it draws for ever'
            return super().randint(*args, **kwargs)

    monkeypatch.setattr('mmfss.datasets.samplers.uniform.counter_rng', lambda *key: Limited(key))
    repeated = ClassLists.from_dict({0: ['a'] * 60 + ['b', 'c'], 1: ['a'] * 40 + ['b'] * 40 + ['c'] * 40})
    for episode in UniformEpisodeSampler(repeated, range(2), num_ways=2, num_shots=2, num_episodes=30):
        assert all(len(set(group) - {episode.query}) == 2 for group in episode.supports)


def test_small_class(monkeypatch):
    lists = ClassLists.from_dict({0: ['a', 'b', 'c'], 1: ['a', 'b'], 2: []}, source='my list')
    with pytest.raises(
        ValueError,
        match=r'Class "bee" \(id 1\) has 2 image\(s\) \(and 1 more classes\) in the list "my list"'
        '.* 2-shot episodes need at least 3',
    ):
        UniformEpisodeSampler(lists, range(3), ('ant', 'bee', 'cat'), num_shots=2)
    messages = []
    monkeypatch.setattr('mmfss.datasets.samplers.base.print_log', lambda message, **_: messages.append(message))
    sampler = UniformEpisodeSampler(
        lists, range(3), ('ant', 'bee', 'cat'), num_shots=2, small_classes='skip', num_episodes=20)
    assert {episode.class_ids for episode in sampler} == {(0,)}
    assert messages[0].startswith('No episodes of "bee" (id 1), "cat" (id 2): fewer than 3 images in the list "my')
    with pytest.raises(ValueError, match=r'num_ways=2, but only 1 class\(es\)'):
        UniformEpisodeSampler(lists, range(3), num_ways=2, num_shots=2, small_classes='skip')


@pytest.mark.parametrize('key', ['num_ways', 'num_shots', 'num_episodes'])
@pytest.mark.parametrize('value', [0, -1, 1.5, '2', True])
def test_numbers_below_one(key, value):
    with pytest.raises(ValueError, match=f'{key} must be an integer of 1 or more'):
        build(**{key: value})


@pytest.mark.parametrize('key, value', [('seed', -1), ('order', 'random'), ('small_classes', 'drop')])
def test_unknown_arguments(key, value):
    with pytest.raises(ValueError, match=key):
        build(**{key: value})


def test_too_many_ways_and_negative_index():
    with pytest.raises(ValueError, match=r'num_ways=7, but only 6 class\(es\)'):
        build(num_ways=7)
    with pytest.raises(IndexError):
        build()[-1]


@pytest.mark.parametrize('world_size', [1, 3])
def test_stream_deals_all_indices(monkeypatch, world_size):
    taken = []
    for rank in range(world_size):
        monkeypatch.setattr('mmfss.datasets.samplers.stream.get_dist_info', lambda rank=rank: (rank, world_size))
        stream = EpisodeStream(range(5), start=6)
        assert len(stream) == 5
        taken.append(list(islice(stream, 12 // world_size)))
    assert sorted(index for part in taken for index in part) == list(range(6, 18))
    with pytest.raises(ValueError, match='start'):
        EpisodeStream(range(5), start=-1)

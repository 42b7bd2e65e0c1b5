from itertools import islice
from typing import List

import pytest

from mmfss.engine import EpisodeStreamSampler


def _take(sampler: EpisodeStreamSampler, number: int, rank: int = 0, world_size: int = 1) -> List[int]:
    sampler.rank, sampler.world_size = rank, world_size
    return list(islice(iter(sampler), number))


def test_every_pass_is_another_permutation() -> None:
    indices = _take(EpisodeStreamSampler(range(10), seed=0), 30)
    passes = [indices[start:start + 10] for start in (0, 10, 20)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert passes[0] != passes[1] != passes[2]


def test_seeds_differ() -> None:
    assert _take(EpisodeStreamSampler(range(50), seed=0), 50) != _take(EpisodeStreamSampler(range(50), seed=1), 50)


@pytest.mark.parametrize('options', [dict(), dict(shuffle=False), dict(endless=True)])
def test_starts_anywhere(options: dict) -> None:
    whole = _take(EpisodeStreamSampler(range(7), seed=5, **options), 40)
    sampler = EpisodeStreamSampler(range(7), seed=1, **options)
    sampler.start_at(23, seed=5)
    assert _take(sampler, 17) == whole[23:]


@pytest.mark.parametrize('world_size', [2, 3])
def test_processes_share_one_stream(world_size: int) -> None:
    whole = _take(EpisodeStreamSampler(range(7), seed=2), 30)
    for rank in range(world_size):
        sampler = EpisodeStreamSampler(range(7), seed=2)
        assert _take(sampler, 30 // world_size, rank, world_size) == whole[rank::world_size]


def test_order_without_shuffling() -> None:
    assert _take(EpisodeStreamSampler(range(3), shuffle=False, seed=0), 7) == [0, 1, 2, 0, 1, 2, 0]
    assert _take(EpisodeStreamSampler(range(3), endless=True, seed=0), 5) == [0, 1, 2, 3, 4]


def test_empty_data_set() -> None:
    with pytest.raises(ValueError, match='range is empty'):
        EpisodeStreamSampler(range(0))

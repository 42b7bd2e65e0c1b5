from types import SimpleNamespace

from mmfss.datasets import ClassLists, PublishedProtocolSampler
from mmfss.evaluation.protocol import protocol_deviations


def published_sampler(benchmark: str = 'pascal') -> PublishedProtocolSampler:
    return PublishedProtocolSampler(ClassLists.from_dict({0: ['a', 'b', 'c']}), [0], benchmark=benchmark)


class TestProtocol:

    META = dict(lists='official PASCAL-5i (DCAMA/HSNet)', lists_official=True, seed=0, num_episodes=1000, num_ways=1)

    def deviations(self, sampler: object = None, **meta: object) -> list[str]:
        dataset = SimpleNamespace(metainfo={**self.META, **meta}, sampler=sampler or published_sampler())
        return protocol_deviations(dataset)

    def test_published(self) -> None:
        assert self.deviations() == []
        assert self.deviations(published_sampler('fss'), num_episodes=3) == []
        for length in (600, 1200):
            assert self.deviations(published_sampler('cross_domain'), num_episodes=length) == []

    def test_deviations(self) -> None:
        assert 'not the official ones (mine)' in self.deviations(lists='mine', lists_official=False)[0]
        assert 'drawn by object' in self.deviations(sampler=object())[0]
        assert '50 episodes of seed 0' in self.deviations(num_episodes=50)[0]
        assert 'published 1200 or 600 of seed 0' in self.deviations(published_sampler('cross_domain'))[0]
        assert 'of seed 3' in self.deviations(seed=3)[0]
        assert '2-way' in self.deviations(num_ways=2)[0]
        assert len(self.deviations(seed=3, num_ways=2, lists_official=False)) == 3

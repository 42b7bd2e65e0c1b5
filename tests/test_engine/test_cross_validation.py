import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmfss.datasets import ClassLists, PublishedProtocolSampler
from mmfss.engine.cross_validation import (
    expand_braces,
    expand_checkpoints,
    fingerprint,
    load_result,
    protocol_deviations,
    save_result,
    trained_checkpoint,
)
from mmfss.utils.config_options import ConfigError


class TestExpandBraces:

    @pytest.mark.parametrize('pattern, expected', [
        ('a/fold0.py', ['a/fold0.py']),
        ('fold{0..3}.py', ['fold0.py', 'fold1.py', 'fold2.py', 'fold3.py']),
        ('fold{2..1}', ['fold2', 'fold1']),
        ('{a,b}_{0..1}', ['a_0', 'a_1', 'b_0', 'b_1']),
        ('{a}', ['{a}']),
    ])
    def test_like_a_shell(self, pattern: str, expected: list[str]) -> None:
        assert expand_braces(pattern) == expected


class TestCheckpoints:

    def test_expand(self, tmp_path: Path) -> None:
        for fold in (0, 1):
            for age, name in enumerate(('best_old.pth', 'best_new.pth', 'iter_9.pth')):
                file = tmp_path / f'fold{fold}' / name
                file.parent.mkdir(exist_ok=True)
                file.touch()
                os.utime(file, (age, age))
        found = expand_checkpoints([f'{tmp_path}/fold{{0..1}}/best_*.pth'], 2)
        assert found == [tmp_path / 'fold0' / 'best_new.pth', tmp_path / 'fold1' / 'best_new.pth']
        with pytest.raises(ConfigError, match='names 2 checkpoints .* for 3 configs'):
            expand_checkpoints([f'{tmp_path}/fold{{0..1}}/best_*.pth'], 3)
        with pytest.raises(FileNotFoundError, match='fold7'):
            expand_checkpoints([f'{tmp_path}/fold7/*.pth'], 1)

    def test_trained(self, tmp_path: Path) -> None:
        assert trained_checkpoint(tmp_path / 'nowhere') is None
        for age, name in enumerate(('iter_5.pth', 'iter_9.pth', '.iter_10.part.pth')):
            (tmp_path / name).touch()
            os.utime(tmp_path / name, (age, age))
        assert trained_checkpoint(tmp_path).name == 'iter_9.pth'
        (tmp_path / 'best_mIoU_iter_5.pth').touch()
        os.utime(tmp_path / 'best_mIoU_iter_5.pth', (0, 0))
        assert trained_checkpoint(tmp_path).name == 'best_mIoU_iter_5.pth'


class TestStoredResults:

    def test_fingerprint(self, tmp_path: Path) -> None:
        checkpoint = tmp_path / 'a.pth'
        checkpoint.write_bytes(b'1')
        cfg = Config(dict(model=dict(type='X'), test_dataloader=dict(dataset=dict(num_shots=1)), work_dir='a'))
        key = fingerprint(cfg, checkpoint, 'model')
        path = tmp_path / 'result.json'
        save_result(path, dict(metrics=dict(mIoU=1.5)), key)
        assert load_result(path, key)['metrics'] == dict(mIoU=1.5)
        cfg.work_dir = 'b'
        assert fingerprint(cfg, checkpoint, 'model') == key
        assert load_result(path, fingerprint(cfg, checkpoint, 'copied mask')) is None
        cfg.test_dataloader.dataset.num_shots = 5
        assert load_result(path, fingerprint(cfg, checkpoint, 'model')) is None
        cfg.test_dataloader.dataset.num_shots = 1
        checkpoint.write_bytes(b'2')
        os.utime(checkpoint, (5, 5))
        assert load_result(path, fingerprint(cfg, checkpoint, 'model')) is None

    def test_missing_or_broken(self, tmp_path: Path) -> None:
        assert load_result(tmp_path / 'none.json', {}) is None
        (tmp_path / 'broken.json').write_text('{"fing')
        assert load_result(tmp_path / 'broken.json', {}) is None


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

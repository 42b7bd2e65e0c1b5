from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from mmfss.evaluation.attribution.presets import metric_configs
from mmfss.explainers.building import build_explainers, explainer_configs, list_explainers, set_explainer_options
from mmfss.explanation.episodes.report import to_markdown
from mmfss.explanation.run_folder import ExplanationFolder, differences
from mmfss.explanation.run_settings import hash_weights, run_settings
from mmfss.utils.config_options import ConfigError
from tests.tiny.model import build_tiny_model


class TestExplainers:

    def test_configs(self) -> None:
        assert explainer_configs(['random', 'saliency', 'random']) == dict(
            random=dict(type='random'), saliency=dict(type='saliency'))
        assert explainer_configs({'random': None, 'noise': dict(type='gaussian_noise', std=1)}) == dict(
            random=dict(type='random'), noise=dict(type='gaussian_noise', std=1))
        assert {'random', 'signed_affex', 'saliency'} <= set(list_explainers())

    def test_options(self) -> None:
        configs = explainer_configs(['gaussian_noise'])
        set_explainer_options(configs, {'gaussian_noise.std': 0.5})
        assert build_explainers(configs)['gaussian_noise'].std == 0.5

    @pytest.mark.parametrize('explainers, message', [
        ([], r'explainers must be a list of names or a dict of configs, got \[\]. Known: .*random'),
        ('random', "got 'random'"),
        (['randm'], 'Unknown explainer "randm". Did you mean random'),
        ({'region': dict(type='random')}, 'cannot be called "region"'),
        ({'a/b': dict(type='random')}, 'cannot be called "a/b"'),
    ])
    def test_errors(self, explainers, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            explainer_configs(explainers)

    def test_metrics_once(self) -> None:
        assert [metric['type'] for metric in metric_configs(['iauc', 'infidelity', 'iauc'])] == [
            'InsertionDeletion', 'Infidelity']


class TestSettings:

    def test_what_they_depend_on(self) -> None:
        def settings(**dataset) -> dict:
            cfg = Config(dict(
                model=dict(type='M', backbone=dict(depth=18, init_cfg=dict(checkpoint='here.pth'))),
                test_dataloader=dict(batch_size=3, dataset=dict(
                    dict(type='D', num_episodes=5, sampler=dict(type='S', num_episodes=7)), **dataset))))
            return run_settings(cfg, model, region='all')

        model = build_tiny_model()
        found = settings()
        assert found['model'] == dict(type='M', backbone=dict(depth=18))
        assert found['dataset'] == dict(type='D', sampler=dict(type='S'))
        assert found['region'] == 'all' and found == settings(num_episodes=9)
        assert found != settings(num_shots=2)
        assert found['weights'] == hash_weights(build_tiny_model()) != hash_weights(build_tiny_model(seed=1))

    def test_differences(self) -> None:
        old = dict(a=1, b=dict(c='x', d=[1, 2]), e=0)
        assert differences(old, dict(old)) == []
        assert differences(old, dict(a=2, b=dict(c='x', d=[1]), f=3)) == [
            'a was 1, is 2', 'b.d was [1, 2], is [1]', 'e was 0, is not set', 'f was not set, is 3']


class TestFolder:

    def test_begin(self, tmp_path: Path) -> None:
        folder = ExplanationFolder(tmp_path / 'run')
        folder.begin(dict(a=1, b=(1, 2)))
        record = dict(index=3, empty=False)
        folder.write(record, dict(region=np.zeros((1, 2, 2), np.uint8)))
        folder.begin(dict(a=1, b=[1, 2]))
        assert folder.is_done(3) and not folder.is_done(3, panel=True) and not folder.is_done(2)
        assert folder.read(3) == dict(record, files=['attributions.npz'])
        with pytest.raises(ConfigError, match='other settings: a was 1, is 2. Choose another folder with --out'):
            folder.begin(dict(a=2, b=[1, 2]))
        (folder.root / 'notes.txt').write_text('mine')
        folder.begin(dict(a=2), overwrite=True)
        assert not folder.is_done(3) and (folder.root / 'notes.txt').is_file()

    def test_records_without_arrays(self, tmp_path: Path) -> None:
        folder = ExplanationFolder(tmp_path)
        folder.write(dict(index=0, empty=False), None)
        assert folder.read(0)['files'] == [] and not (folder.episode_dir(0) / 'attributions.npz').exists()
        assert folder.is_done(0) and not folder.is_done(0, arrays=True)

    @pytest.mark.parametrize('content', ['', '{"a":', '[]', '{}'])
    def test_damaged_records_are_not_done(self, tmp_path: Path, content: str) -> None:
        folder = ExplanationFolder(tmp_path)
        folder.write(dict(index=0, empty=False), dict(region=np.zeros(1)))
        (folder.episode_dir(0) / 'attributions.npz').unlink()
        assert not folder.is_done(0)
        (folder.episode_dir(0) / 'record.json').write_text(content)
        assert not folder.is_done(0)
        with pytest.raises(ValueError, match='000000/record.json" is damaged.*Remove it'):
            folder.read(0)

    @pytest.mark.parametrize('content', ['{}', '[]', '{"set'])
    def test_a_run_file_of_something_else(self, tmp_path: Path, content: str) -> None:
        (tmp_path / 'run.json').write_text(content)
        with pytest.raises(ConfigError, match='does not describe an explanation run. Choose another folder with --out'):
            ExplanationFolder(tmp_path).begin(dict(a=1))

    def test_foreign_folders(self, tmp_path: Path) -> None:
        folder = ExplanationFolder(tmp_path)
        (tmp_path / 'run.json').write_text('{}')
        with pytest.raises(ConfigError, match='run.json" does not describe an explanation run'):
            folder.begin(dict(a=1))
        (tmp_path / 'run.json').unlink()
        folder.write(dict(index=0, empty=True), {})
        with pytest.raises(ConfigError, match='holds explained episodes, but no run.json'):
            folder.begin(dict(a=1))
        with pytest.raises(FileNotFoundError, match='Episode 1 has no record'):
            folder.read(1)


def test_table() -> None:
    def score(value: float, interval: list, num_nan: int = 0) -> dict:
        return dict(value=value, interval=interval, num_nan=num_nan)

    results = dict(
        episodes=dict(num_ways=1, num_shots=5, dataset_name='VOC', fold=2), num_episodes=4, num_explained=3,
        empty=[dict(index=2, reason='nothing')], mean_iou=0.5, region='all', device='cpu', prediction_seconds=0.25,
        metrics={'IAUC': dict(higher_is_better=True, percent=True),
                 'Infidelity': dict(higher_is_better=False, percent=False)},
        scores=dict(a={'IAUC': score(54.321, [50., 60.]), 'Infidelity': score(0.5, [0.25, 1.])},
                    b={'IAUC': score(-0.01, [-0.02, 0.01], 1), 'Infidelity': score(0.125, [0.1, 0.2])}),
        seconds=dict(a=1.23456, b=0.001), explainers=dict(a=dict(type='signed_affex', temperature=0.1),
                                                          b=dict(type='saliency')), forms=dict(b='relaxed form'))
    lines = to_markdown(results).splitlines()
    assert lines[0] == '| explainer | IAUC ↑ | Infidelity ↓ | seconds | episodes | empty |'
    assert lines[2] == '| a | **54.3** (50.0 to 60.0) | 0.5000 (0.2500 to 1.0000) | 1.23 | 3 | 1 |'
    assert lines[3] == '| b | 0.0 (0.0 to 0.0) | **0.1250** (0.1000 to 0.2000) | 0.001 | 3 | 1 |'
    text = '\n'.join(lines[4:])
    for remark in ('1-way 5-shot, VOC fold 2: 4 episodes, mean IoU of an episode 50.0 %', 'Per cent (not Infidelity)',
                   'one prediction takes 0.25', 'Nothing to explain in 1 episode(s): 2.',
                   'IAUC of b has no value in 1 episode(s).', 'Temperature of the affinities: 0.1 (a).',
                   'The decisions of the model have no gradient: b explained its relaxed form.'):
        assert remark in text

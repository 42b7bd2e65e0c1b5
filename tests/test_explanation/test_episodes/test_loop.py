import csv
import json
import os
import signal
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from mmfss.evaluation.attribution import PerturbedEpisode, build_attribution_metric
from mmfss.explainers import AffEx, Explainer
from mmfss.explanation.episodes import study
from mmfss.explanation.episodes.study import EpisodeStudy
from mmfss.models import FewShotSegmentor
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from mmfss.utils.config_options import ConfigError
from tests import processes
from tests.references.seeded import seeded_image, seeded_mask
from tests.test_explanation.explaining import METRICS, explain, run_config, write_run
from tests.tiny.data import PIPELINE, draw_picture
from tests.tiny.model import build_tiny_model

ROOT = Path(__file__).parents[3]
SCRIPT = str(ROOT / 'tests/test_explanation/explaining.py')
ENVIRONMENT = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
NAMES = ['random', 'noise', 'saliency', 'unmasked_affex']
METRIC_NAMES = ['mIoULoss@5%', 'IAUC-confidence']


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp('explain'))


@pytest.fixture(scope='module')
def whole(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of one process without interruption."""
    out = tmp_path_factory.mktemp('whole') / 'out'
    explain(run_config(config, out))
    return out



def test_variants_share_their_contributions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reports the cost that it would have alone, and the map that it would have alone."""
    model = build_tiny_model().eval()
    torch.manual_seed(0)
    masks = torch.zeros(1, 2, 64, 64)
    masks[..., 16:48, 16:40] = 1
    episode = Episode(torch.randn(3, 64, 64), torch.randn(1, 2, 3, 64, 64), masks)
    names = ('unmasked_affex', 'masked_affex', 'signed_affex')
    explainers = {name: EXPLAINERS.build(dict(type=name)) for name in names}
    explainers['mean'] = EXPLAINERS.build(dict(type='signed_affex', aggregation='mean'))
    computed, compute = [], AffEx._contributions
    monkeypatch.setattr(AffEx, '_contributions', lambda self, *args: (computed.append(self), compute(self, *args))[1])
    monkeypatch.setattr(study, 'timed', lambda work, device: (work(), 1.))
    record, arrays = EpisodeStudy(explainers, [], region='all', dtype='float32')(model, 0, episode)
    assert computed == [explainers['unmasked_affex'], explainers['mean']]
    for name, explainer in explainers.items():
        explanation = explainer.explain(model, episode, 'all')
        assert np.array_equal(arrays[name], explanation.attribution.numpy())
        assert record['contributions'][name] == explanation.contributions.summary()
        assert record['neutral'].get(name) == (None if explanation.neutral is None else explanation.neutral.tolist())
    assert record['seconds'] == dict.fromkeys(explainers, 2.)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def record(out: Path, index: int) -> dict:
    return read(out / 'episodes' / f'{index:06d}' / 'record.json')


def arrays(out: Path, index: int) -> dict[str, np.ndarray]:
    with np.load(out / 'episodes' / f'{index:06d}' / 'attributions.npz') as stored:
        return dict(stored)


def same_table(out: Path, whole: Path) -> None:
    """Everything but seconds is equal."""
    mine, other = read(out / 'results.json'), read(whole / 'results.json')
    assert mine['scores'] == other['scores']
    assert (mine['mean_iou'], mine['empty'], mine['contributions']) == (
        other['mean_iou'], other['empty'], other['contributions'])
    columns = [[line.split(' | ')[:3] for line in (folder / 'table.md').read_text().splitlines() if line[:1] == '|']
               for folder in (out, whole)]
    assert columns[0] == columns[1] and len(columns[0]) == 2 + len(NAMES)
    for index in range(5):
        a, b = arrays(out, index), arrays(whole, index)
        assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def run_script(config: Path, out: Path, kill_after: int = 0, distributed: int = 0) -> int:
    done = processes.run(SCRIPT, config, out, kill_after, env=ENVIRONMENT, distributed=distributed)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
    return done.returncode


class TestFiles:

    def test_arrays(self, whole: Path) -> None:
        found = arrays(whole, 0)
        assert list(found) == ['prediction', 'support_masks', 'target', 'region', *NAMES]
        assert {name: found[name].dtype for name in NAMES} == dict.fromkeys(NAMES, np.float16)
        assert {found[name].dtype for name in list(found)[:4]} == {np.dtype('uint8')}
        assert {found[name].shape for name in [*NAMES, 'support_masks']} == {(1, 1, 64, 64)}
        assert found['region'].shape == (1, 64, 64) and found['prediction'].shape == found['target'].shape == (64, 64)
        assert np.array_equal(found['region'][0], found['prediction'] == 1)
        assert set(np.unique(found['support_masks'])) == {0, 1}

    def test_record(self, whole: Path) -> None:
        found = record(whole, 1)
        assert (found['index'], found['empty'], found['reason']) == (1, False, None)
        assert found['info']['class_names'] == ['ant'] and found['info']['query_name'].startswith('ant/')
        assert list(found['seconds']) == NAMES and all(value > 0 for value in found['seconds'].values())
        assert list(found['scores']) == METRIC_NAMES
        curve = found['scores']['IAUC-confidence']['random']['curve']
        assert len(curve) == 5 and 0 < found['scores']['IAUC-confidence']['random']['value'] < 1
        assert list(found['contributions']) == ['unmasked_affex']
        assert sum(found['contributions']['unmasked_affex']['layers'][0]) == pytest.approx(1)

    def test_panels_of_the_first_episodes(self, whole: Path) -> None:
        assert [path.parent.name for path in sorted(whole.glob('episodes/*/panel.png'))] == ['000000', '000001']
        assert record(whole, 0)['files'] == ['attributions.npz', 'panel.png']
        assert record(whole, 4)['files'] == ['attributions.npz']

    def test_values_are_those_of_the_parts(self, whole: Path) -> None:
        found = arrays(whole, 2)
        target, prediction = found['target'] == 1, found['prediction'] == 1
        iou = (target & prediction).sum() / (target | prediction).sum()
        assert record(whole, 2)['iou'] == pytest.approx(iou)

    def test_csv(self, whole: Path) -> None:
        with open(whole / 'results.csv', newline='') as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 5 * len(NAMES)
        for metric in METRIC_NAMES:
            values = [float(row[metric]) for row in rows if row['explainer'] == 'noise']
            stored = read(whole / 'results.json')['scores']['noise'][metric]
            assert stored['value'] == pytest.approx(100 * np.mean(values))
            low, high = stored['interval']
            assert low <= stored['value'] <= high

    def test_results_and_page(self, whole: Path) -> None:
        results = read(whole / 'results.json')
        assert results['region'] == 'prediction' and results['num_explained'] == results['num_episodes'] == 5
        assert results['metrics']['mIoULoss@5%'] == dict(higher_is_better=False, percent=True)
        layers = results['contributions']['unmasked_affex']['layers']
        assert sum(layers) == pytest.approx(1) and len(layers) == len(
            results['contributions']['unmasked_affex']['layer_sizes'])
        table = (whole / 'table.md').read_text()
        assert '| explainer | mIoULoss@5% ↓ | IAUC-confidence ↑ | seconds |' in table
        assert table.strip() == results['markdown'].strip() and '5 episodes' in table
        assert '<html' in (whole / 'index.html').read_text()


class TestArraysOfTheFirstEpisodes:

    def run(self, config: Path, out: Path, **changes: int) -> list[bool]:
        cfg = run_config(config, out, **changes)
        cfg.test_cfg.explainers = dict(random=dict(type='random'))
        cfg.test_evaluator = METRICS[:1]
        explain(cfg)
        return [(out / f'episodes/{index:06d}/attributions.npz').is_file() for index in range(5)]

    def test_the_others_keep_their_records(self, config: Path, tmp_path: Path) -> None:
        assert self.run(config, tmp_path / 'few', arrays=1) == [True] + [False] * 4
        before = read(tmp_path / 'few/results.json')
        assert before['num_explained'] == 5
        changed = (tmp_path / 'few/episodes/000004/record.json').stat().st_mtime_ns
        # More arrays are made without repeating episodes that have theirs, or need none.
        assert self.run(config, tmp_path / 'few', arrays=3) == [True] * 3 + [False] * 2
        assert (tmp_path / 'few/episodes/000004/record.json').stat().st_mtime_ns == changed
        assert read(tmp_path / 'few/results.json')['scores'] == before['scores']

    def test_a_negative_number_is_refused(self, config: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match='--arrays .* must be 0 or more'):
            self.run(config, tmp_path / 'none', arrays=-1)


class TestResuming:

    def test_killed_run_goes_on(self, config: Path, whole: Path, tmp_path: Path) -> None:
        out = tmp_path / 'out'
        assert run_script(config, out, kill_after=2) == -signal.SIGKILL
        done = sorted(out.glob('episodes/*/record.json'))
        assert [path.parent.name for path in done] == ['000000', '000001'] and not (out / 'results.json').exists()
        # As if killed while writing the next: no record, so the episode is explained again.
        half = out / 'episodes' / '000002'
        half.mkdir()
        (half / 'attributions.npz').write_bytes(b'half')
        times = [path.stat().st_mtime_ns for path in done]
        explain(run_config(config, out))
        assert [path.stat().st_mtime_ns for path in done] == times
        same_table(out, whole)

    def test_two_processes(self, config: Path, whole: Path, tmp_path: Path) -> None:
        assert run_script(config, tmp_path / 'out', distributed=2) == 0
        assert read(tmp_path / 'out' / 'results.json')['processes'] == 2
        same_table(tmp_path / 'out', whole)

    def test_more_episodes_and_panels(self, config: Path, tmp_path: Path) -> None:
        out = tmp_path / 'out'
        cfg = run_config(config, out)
        cfg.test_dataloader.dataset.sampler.num_episodes = 1
        cfg.test_cfg.panels = 0
        explain(cfg)
        first = out / 'episodes' / '000000' / 'record.json'
        before = first.stat().st_mtime_ns
        assert not (first.parent / 'panel.png').exists()
        cfg = run_config(config, out)
        cfg.test_dataloader.dataset.num_episodes = 2
        cfg.test_cfg.panels = 0
        explain(cfg)
        assert first.stat().st_mtime_ns == before
        assert read(out / 'results.json')['num_explained'] == 2
        cfg = run_config(config, out)
        cfg.test_dataloader.dataset.num_episodes = 2
        cfg.test_cfg.panels = 1
        explain(cfg)
        assert (first.parent / 'panel.png').exists()

    def test_other_settings_are_refused(self, config: Path, whole: Path, tmp_path: Path) -> None:
        files = {path: path.stat().st_mtime_ns for path in whole.rglob('*') if path.is_file()}
        cfg = run_config(config, whole, region='ground_truth')
        cfg.test_dataloader.dataset.num_shots = 2
        cfg.test_cfg.explainers = dict(random=dict(type='random', seed=1))
        with pytest.raises(ConfigError) as error:
            explain(cfg)
        for difference in ('region was "prediction", is "ground_truth"', 'dataset.num_shots was not set, is 2',
                           'explainers.random.seed was not set, is 1', 'explainers.noise was ', '--overwrite'):
            assert difference in str(error.value)
        assert 'weights' not in str(error.value) and 'metrics' not in str(error.value)
        assert files == {path: path.stat().st_mtime_ns for path in whole.rglob('*') if path.is_file()}


class TestEpisodes:

    def test_nothing_is_predicted(self, tmp_path: Path) -> None:
        cfg = run_config(write_run(tmp_path, bias=-10), tmp_path / 'out')
        results = explain(cfg).test_loop.results
        assert results['num_explained'] == 0 and [item['index'] for item in results['empty']] == [0, 1, 2, 3, 4]
        assert 'has no pixel in the query' in results['empty'][0]['reason']
        assert 'Nothing to explain in 5 episode(s): 0, 1, 2, 3, 4.' in results['markdown']
        assert '| random | - | - | - | 0 | 5 |' in results['markdown']
        assert set(arrays(tmp_path / 'out', 0)) == {'prediction', 'support_masks', 'target'}

    def test_two_ways(self, config: Path, tmp_path: Path) -> None:
        cfg = run_config(config, tmp_path / 'out', region='all', dtype='float32')
        cfg.test_dataloader.dataset.update(num_ways=2, num_shots=2, num_episodes=1)
        results = explain(cfg).test_loop.results
        assert results['num_explained'] == 1
        found = arrays(tmp_path / 'out', 0)
        assert found['region'].shape == (2, 64, 64) and found['region'].all()
        assert {found[name].shape for name in NAMES} == {(2, 2, 64, 64)} and found['saliency'].dtype == np.float32
        assert len(record(tmp_path / 'out', 0)['contributions']['unmasked_affex']['shots']) == 2

    def test_masks_of_another_size_than_their_images(self, config: Path, tmp_path: Path) -> None:
        root = tmp_path / 'FSS-1000'
        for hue, name in enumerate(('ant', 'bee', 'cat', 'dog')):
            (root / name).mkdir(parents=True)
            for number in range(1, 11):
                image, mask = draw_picture(f'{name}{number}', hue)
                Image.fromarray(image).save(root / name / f'{number}.jpg')
                Image.fromarray(mask.astype(np.uint8) * 255).resize((97, 91)).save(root / name / f'{number}.png')
        cfg = run_config(config, tmp_path / 'out')
        cfg.test_cfg.explainers = dict(saliency=dict(type='saliency'))
        del cfg.test_dataloader.dataset
        cfg.test_dataloader.dataset = dict(
            type='FSS1000Dataset', data_root=str(root), split='test', split_dir=None, pipeline=PIPELINE,
            sampler=dict(type='UniformEpisodeSampler', num_episodes=2))
        assert explain(cfg).test_loop.results['num_explained'] == 2
        for index in range(2):
            info, found = record(tmp_path / 'out', index)['info'], arrays(tmp_path / 'out', index)
            names = [info['query_name'], info['support_names'][0][0]]
            for name, mask in zip(names, (found['target'], found['support_masks'][0, 0])):
                grey = torch.from_numpy(np.array(Image.open(root / name.replace('.jpg', '.png')).convert('L')))
                expected = interpolate((grey >= 128)[None, None].float(), (64, 64), mode='nearest')[0, 0]
                assert np.array_equal(mask, expected.numpy())
        assert 'dog/' in (tmp_path / 'out' / 'index.html').read_text(encoding='utf-8')

    def test_metric_must_measure_attributions(self, config: Path, tmp_path: Path) -> None:
        cfg = run_config(config, tmp_path / 'out')
        cfg.test_evaluator = dict(type='EpisodicIoU')
        with pytest.raises(ConfigError, match='EpisodicIoU does not measure attributions'):
            explain(cfg)

    @pytest.mark.parametrize('changes, message', [
        (dict(region='query'), "region must be one of prediction, ground_truth, all, got 'query'"),
        (dict(dtype='int8'), "dtype must be 'float16' or 'float32', got 'int8'"),
    ])
    def test_wrong_arguments(self, config: Path, tmp_path: Path, changes: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            explain(run_config(config, tmp_path / 'out', **changes))


def make_episode(index: int = 0) -> Episode:
    name = f'episode{index}'
    return Episode(
        torch.from_numpy(seeded_image(f'{name} query', (3, 64, 64))),
        torch.from_numpy(seeded_image(f'{name} support', (1, 2, 3, 64, 64))),
        torch.from_numpy(seeded_mask(f'{name} masks', (1, 2, 64, 64))),
        torch.from_numpy(seeded_mask(f'{name} target', (64, 64))).long(),
        dict(class_names=['ant'], query_name='a.jpg', support_names=[['b.jpg', 'c.jpg']]))


class Dice(Explainer):
    """Draws from the global generators, as careless explainers do."""

    def _attribute(self, model: FewShotSegmentor, episode: Episode, region: torch.Tensor) -> torch.Tensor:
        return torch.rand(episode.masks.shape) + float(np.random.rand())


class Broken(Explainer):
    """Fails, or returns what it should not."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def attribute(self, model: FewShotSegmentor, episode: Episode, region: Any = 'prediction') -> torch.Tensor:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    _attribute = attribute


class TestEpisodeStudy:

    def study(self, explainers: Optional[dict] = None, index: int = 0, **options: Any) -> tuple[dict, dict]:
        metrics = [build_attribution_metric('miou_loss@5%')]
        study = EpisodeStudy(explainers or dict(random=EXPLAINERS.build(dict(type='random'))), metrics, **options)
        return study(build_tiny_model(), index, make_episode())

    def test_as_by_hand(self) -> None:
        explainer, metric = EXPLAINERS.build(dict(type='saliency')), build_attribution_metric('miou_loss@5%')
        found, stored = self.study(dict(saliency=explainer), region='ground_truth', dtype='float32')
        model, episode = build_tiny_model(), make_episode()
        expected = explainer.attribute(model, episode, 'ground_truth')
        assert np.array_equal(stored['saliency'], expected.numpy())
        value = metric.measure(PerturbedEpisode(model, episode), expected, episode.target[None] == 1).value
        assert found['scores']['mIoULoss@5%']['saliency']['value'] == pytest.approx(value)

    def test_random_numbers_depend_on_seed_and_index_alone(self) -> None:
        before = torch.get_rng_state()
        first = self.study(dict(a=Dice(), b=Dice()))[1]
        assert torch.equal(torch.get_rng_state(), before)
        assert np.array_equal(first['a'], first['b'])
        torch.rand(5)
        assert np.array_equal(first['a'], self.study(dict(a=Dice()))[1]['a'])
        assert not np.array_equal(first['a'], self.study(dict(a=Dice()), index=1)[1]['a'])
        assert not np.array_equal(first['a'], self.study(dict(a=Dice()), seed=1)[1]['a'])

    def test_empty_support_mask(self) -> None:
        episode = make_episode()
        episode.masks[0, 1] = 0
        study = EpisodeStudy(dict(random=EXPLAINERS.build(dict(type='random'))), [])
        found, _ = study(build_tiny_model(), 3, episode)
        assert found['empty'] and found['reason'].startswith('Support 2 of class 1 ("c.jpg") has an empty mask')

    @pytest.mark.parametrize('result, kind, message', [
        (ValueError('cannot serve this head'), ConfigError, 'ValueError: cannot serve this head'),
        (KeyError('layer'), RuntimeError, "KeyError: 'layer'"),
        (torch.zeros(1, 2, 3, 3), RuntimeError, r'returned the shape \(1, 2, 3, 3\) instead of'),
        (torch.full((1, 2, 64, 64), float('nan')), RuntimeError, 'values that are not finite'),
    ])
    def test_failing_explainer(self, result: Any, kind: type, message: str) -> None:
        where = r'The explainer "broken" failed on episode 7 \(ant; query "a.jpg"\): .*'
        with pytest.raises(kind, match=where + message):
            self.study(dict(broken=Broken(result)), index=7)

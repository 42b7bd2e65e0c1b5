"""Predictions of prototype models, decomposed image by image."""
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from mmfss.explanation.images.study import ImageStudy, confusion, logit_sizes, region_weights, resized
from mmfss.prototypes.sources import PrototypeSources, source_places
from mmfss.registry import DATASETS
from mmfss.utils.config_options import ConfigError
from tests.test_explanation.prototype_run import GROUPS, explain, write_models
from tests.test_visualization.test_pages.test_explanation_page import Page
from tests.tiny.seg import CLASSES, TinySegDataset, build_tiny_segmentor


@DATASETS.register_module(force=True)
class UnlabelledSegDataset(TinySegDataset):
    """Pictures without annotation."""

    def __getitem__(self, index: int) -> dict:
        item = super().__getitem__(index)
        del item['data_samples'].gt_sem_seg
        return item


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('models')
    write_models(root)
    return root


def records(out: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(out.glob('images/*/record.json'))]


def trees(out: Path) -> list[dict]:
    return [tree for record in records(out) for tree in record['classes'] + [
        part for failure in record['failures'] for part in failure['explained']]]


class TestRun:

    @pytest.mark.parametrize(('name', 'region'), [('pushed', 'prediction'), ('groups', 'ground_truth'),
                                                  ('groups', 'all')])
    def test_complete(self, models: Path, tmp_path: Path, name: str, region: str) -> None:
        runner = explain(models, name, tmp_path, region=region)
        model = runner.test_loop.model
        found = records(tmp_path)
        assert len(found) == 2 and all(record['classes'] and not record['empty'] for record in found)
        for record in found:
            item = TinySegDataset()[record['index']]
            sample, = model.test_step(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]))
            arrays = np.load(tmp_path / 'images' / f'{record["index"]:06d}' / 'maps.npz')
            prediction, target = sample.pred_sem_seg.data[0], item['data_samples'].gt_sem_seg.data[0]
            assert np.array_equal(arrays['prediction'], prediction)
            assert np.array_equal(arrays['target'], np.where(target == 255, -1, target))
            expected = prediction if region == 'prediction' else target
            shown = set(expected.unique().tolist()) - {255} | (
                set(prediction.unique().tolist()) if region == 'all' else set())
            assert {tree['class_id'] for tree in record['classes']} == shown
            for tree in record['classes']:
                pixels = torch.ones_like(target) > 0 if region == 'all' else expected == tree['class_id']
                logit = float(sample.seg_logits.data[tree['class_id']][pixels].mean())
                bars = [part['contribution'] for part in tree['groups'] + tree['terms']]
                assert tree['pixels'] == pixels.sum()
                # Bars of both signs cancel: rounding is in proportion to them, not to their sum.
                close = pytest.approx(logit, rel=1e-5, abs=1e-6 * sum(map(abs, bars)))
                assert tree['total'] == close and sum(bars) == close

    def test_failures(self, models: Path, tmp_path: Path) -> None:
        explain(models, 'groups', tmp_path, failures=1.)
        for record in records(tmp_path):
            arrays = np.load(tmp_path / 'images' / f'{record["index"]:06d}' / 'maps.npz')
            assert len(record['failures']) >= 2
            for failure in record['failures']:
                wrong = (arrays['target'] == failure['truth']) & (arrays['prediction'] == failure['predicted'])
                assert failure['pixels'] == wrong.sum() > 0 and failure['class_id'] in (
                    failure['truth'], failure['predicted']) and failure['truth'] != failure['predicted']
                hit, union = record['counts'][failure['class_name']]
                assert failure['iou'] == hit / union < 1
                truth, predicted = failure['explained']
                # Over these pixels the wrong class has the higher logit.
                assert truth['class_id'] == failure['truth'] and truth['total'] < predicted['total']
            ious = [failure['iou'] for failure in record['failures']]
            assert ious == sorted(ious)
        explain(models, 'groups', tmp_path, failures=0., overwrite=True)
        assert not any(record['failures'] for record in records(tmp_path))

    def test_maps_and_sources(self, models: Path, tmp_path: Path) -> None:
        explain(models, 'groups', tmp_path, top=1)
        sources = PrototypeSources(models / 'prototypes.json')
        for tree in trees(tmp_path):
            for group in tree['groups']:
                assert ['map' in prototype for prototype in group['prototypes']] == [True] + [False] * (
                    len(group['prototypes']) - 1)
                for prototype in group['prototypes']:
                    assert prototype['source']['cell'] == sources[prototype['index']]['cell']
                    assert prototype['scale'] == sources[prototype['index']]['scale']
        record = records(tmp_path)[0]
        arrays = np.load(tmp_path / 'images' / f'{record["index"]:06d}' / 'maps.npz')
        assert arrays['maps'].dtype == np.float16 and arrays['maps'].shape[1:] == arrays['choices'].shape[1:]
        used = {node['map'] for tree in record['classes'] + [
            part for failure in record['failures'] for part in failure['explained']]
                for group in tree['groups'] for node in (group, *group['prototypes']) if 'map' in node}
        assert used == set(range(len(arrays['maps'])))

    def test_panels(self, models: Path, tmp_path: Path) -> None:
        explain(models, 'groups', tmp_path / 'two', top=1, panels=1)
        explain(models, 'pushed', tmp_path / 'one', top=1, panels=1)
        for name in ('one', 'two'):
            folder, = {path.parent for path in (tmp_path / name).glob('images/*/*.png')}
            record = json.loads((folder / 'record.json').read_text())
            panels = sorted(path.name for path in folder.glob('*.png'))
            assert len(panels) == len(record['classes']) + 2 * len(record['failures'])
            assert sorted(record['files']) == sorted([*panels, 'maps.npz'])
            for tree in record['classes']:
                width, height = Image.open(folder / f'panel_{tree["class_id"]:02d}_{tree["class_name"]}.png').size
                shown = [sum('map' in entry for entry in group['prototypes']) for group in tree['groups']]
                grouped = bool(tree['groups'][0]['title'])
                assert shown == [min(1 if grouped else 3, len(group['prototypes'])) for group in tree['groups']]
                if grouped:
                    rows, columns = 1 + len(shown), max(5, 1 + 2 * max(shown))
                else:
                    rows, columns = 1 + -(-shown[0] // 3), 6
                # Tiles of 208 pixels with a caption of 22, gaps of 8; the strip at the foot may be wider.
                assert height == rows * (208 + 22 + 8) + 26 + 2 * 8 and width >= columns * 216 + 8

    def test_resume(self, models: Path, tmp_path: Path) -> None:
        out = tmp_path / 'out'
        explain(models, 'groups', out, num_images=2)
        before = {path: path.stat().st_mtime_ns for path in out.glob('images/*/record.json')}
        first = json.loads((out / 'results.json').read_text())
        explain(models, 'groups', out, num_images=4)
        after = {path: path.stat().st_mtime_ns for path in out.glob('images/*/record.json')}
        assert len(after) == 4 and before.items() <= after.items()
        whole = explain(models, 'groups', tmp_path / 'whole', num_images=4).test_loop.results
        assert json.loads((out / 'results.json').read_text())['per_class'] == whole['per_class'] != first['per_class']
        with pytest.raises(ConfigError, match='run with other settings: failures was 0.5, is 0.3'):
            explain(models, 'groups', out, failures=0.3)
        with pytest.raises(ConfigError, match='run with other settings: .*weights was'):
            explain(models, 'pushed', out)
        explain(models, 'groups', out, failures=0.3, overwrite=True)
        assert len(list(out.glob('images/*/record.json'))) == 2

    def test_without_labels(self, models: Path, tmp_path: Path) -> None:
        results = explain(models, 'groups', tmp_path, data=dict(type='UnlabelledSegDataset')).test_loop.results
        assert results['mean_iou'] is None and not results['failures'] and results['per_class'][0]['iou'] is None
        with pytest.raises(ConfigError, match='"ground_truth" needs a dataset with labels'):
            explain(models, 'groups', tmp_path, data=dict(type='UnlabelledSegDataset'), region='ground_truth',
                    overwrite=True)

    def test_a_missing_source_picture_is_left_out(self, models: Path, tmp_path: Path) -> None:
        shutil.copy(models / 'prototypes.json', tmp_path)
        explain(models, 'groups', tmp_path / 'out', sources=str(tmp_path / 'prototypes.json'))
        sources = Page(tmp_path / 'out' / 'index.html').data('sources-data')
        assert sources and all(entry['patch'] is None and entry['name'].endswith('.png') for entry in sources.values())


class TestReport:

    def test_table(self, models: Path, tmp_path: Path) -> None:
        results = explain(models, 'groups', tmp_path, num_images=3, failures=1.).test_loop.results
        written = json.loads((tmp_path / 'results.json').read_text())
        assert (tmp_path / 'table.md').read_text() == written['markdown'] == results['markdown']
        found = records(tmp_path)
        for entry in results['per_class']:
            counts = np.array([r['counts'][entry['name']] for r in found if entry['name'] in r['counts']])
            assert entry['iou'] == pytest.approx(counts[:, 0].sum() / counts[:, 1].sum())
            mine = [tree for record in found for tree in record['classes'] if tree['class_id'] == entry['class_id']]
            assert entry['images'] == len(mine)
            if mine:
                assert entry['logit'] == pytest.approx(np.mean([tree['total'] for tree in mine]))
                own = [sum(group['contribution'] for group in tree['groups']) for tree in mine]
                assert entry['own'] == pytest.approx(np.mean(own))
            assert entry['own_share'] is None or 0 <= entry['own_share'] <= 1
            assert entry['top_share'] is None or 0 < entry['top_share'] <= 1 + 1e-9
        keys = [(failure['iou'], -failure['pixels']) for failure in results['failures']]
        assert keys == sorted(keys) and len(keys) >= 3
        assert '| class | images | IoU | groups |' in results['markdown']
        assert '| class | images | IoU | prototypes |' in explain(
            models, 'pushed', tmp_path / 'one').test_loop.results['markdown']

    def test_page(self, models: Path, tmp_path: Path) -> None:
        explain(models, 'groups', tmp_path, num_images=3, failures=1.)
        page = Page(tmp_path / 'index.html')
        text = (tmp_path / 'index.html').read_text(encoding='utf-8')
        assert not page.open and not page.addresses and len(set(page.ids)) == len(page.ids)
        assert "default-src 'none'" in text and not re.findall(r'https?://(?!www\.w3\.org/2000/svg)', text)
        assert '{{' not in text
        script = page.scripts[-1][1]
        assert set(re.findall(r"[$]\('([\w-]+)'\)", script)) <= {*page.ids, 'item-title'}
        assert 'innerHTML' not in script and 'fetch(' not in script
        assert len(page.episodes) == 3 and len(page.data('summary-data')['per_class']) >= 3
        sources = page.data('sources-data')
        for entry in page.episodes:
            assert entry['src'].startswith('data:image/')
            for tree in entry['explained'] + [part for failure in entry['failures'] for part in failure['explained']]:
                values = [term['value'] for term in tree['terms']]
                total = float(re.search(r'pixels: (-?[\d.]+)\. It', tree['total']).group(1))
                assert sum(values) == pytest.approx(total, abs=2e-3 * max(map(abs, values)) + 0.01)
                for group in tree['groups']:
                    assert group['map'] < len(entry['maps'])
                    for prototype in group['prototypes']:
                        assert prototype['map'] < len(entry['maps'])
                        assert sources[prototype['source']]['patch'].startswith('data:image/')


class TestErrors:

    @pytest.mark.parametrize(('changes', 'message'), [
        (dict(region='corner'), 'region must be one of prediction, ground_truth, all'),
        (dict(failures=50.), '--failures .* is an IoU from 0 to 1, got 50.0'),
        (dict(seed=-1), '--seed .* must be 0 or more, got -1'),
        (dict(panels=-1), '--panels .* must be 0 or more, got -1'),
        (dict(num_images=0), 'num_images must be 1 or more'),
        (dict(sources='nowhere.json'), 'looked for: nowhere.json.*--sources')])
    def test_arguments(self, models: Path, tmp_path: Path, changes: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            explain(models, 'groups', tmp_path, **changes)

    def test_sources_of_another_model(self, models: Path, tmp_path: Path) -> None:
        record = json.loads((models / 'prototypes.json').read_text())
        record['prototypes'][0]['cell'] = [0, 31]
        (tmp_path / 'other.json').write_text(json.dumps(record))
        with pytest.raises(ConfigError, match='not those of the model.*--sources'):
            explain(models, 'groups', tmp_path / 'out', sources=str(tmp_path / 'other.json'))

    def test_of_several_sources_those_of_the_model_count(self, models: Path, tmp_path: Path) -> None:
        record = json.loads((models / 'prototypes.json').read_text())
        record['prototypes'][0]['cell'] = [0, 31]
        other, own = tmp_path / 'other.json', models / 'prototypes.json'
        other.write_text(json.dumps(record))
        places = [str(tmp_path / 'nowhere.json'), str(other), str(own)]
        results = explain(models, 'groups', tmp_path / 'out', sources=places).test_loop.results
        assert results['sources'] == str(own)
        with pytest.raises(ConfigError, match='other.json" .*not those of the model.*--sources'):
            explain(models, 'groups', tmp_path / 'out', sources=places[:2])

    def test_sources_of_a_pruned_model(self, models: Path) -> None:
        sources, head = PrototypeSources(models / 'prototypes.json'), build_tiny_segmentor().decode_head
        weights = torch.load(models / 'pushed.pth')['state_dict']
        weights = {name.removeprefix('decode_head.'): value for name, value in weights.items() if 'decode_head' in name}
        head.follow_state_dict(weights)
        head.load_state_dict(weights)
        all_files, left = [record['files']['patch'] for record in sources.records], [0, 2, 3]
        head.keep_prototypes(torch.tensor(left))
        sources.check(head)
        assert [record['files']['patch'] for record in sources.records] == [all_files[place] for place in left]
        assert [record['index'] for record in sources.records] == [0, 1, 2]
        head.proto_source[1, 0] += 1
        with pytest.raises(ValueError, match=r'not those of the model \(3 prototypes\)'):
            sources.check(head)

    def test_where_sources_are_looked_for(self, tmp_path: Path) -> None:
        beside = tmp_path / 'work' / 'stage2' / 'joint' / 'prototypes.json'
        there = [tmp_path / path / 'prototypes.json' for path in (
            'work/stage2/push', 'work/stage1/joint', 'elsewhere/stage1/joint')]
        for path in there:
            path.parent.mkdir(parents=True)
            path.touch()
        checkpoint, started_from = beside.with_name('iter_1.pth'), there[2].parents[1] / 'last_layer' / 'iter_1.pth'
        expected = [beside, started_from.with_name('prototypes.json'), *there]
        assert source_places(str(checkpoint), None, str(started_from)) == list(map(str, expected))

    def test_a_model_that_was_never_pushed_has_no_sources(self, models: Path, tmp_path: Path) -> None:
        torch.save(dict(state_dict=build_tiny_segmentor().state_dict()), tmp_path / 'pushed.pth')
        shutil.copy(models / 'pushed.py', tmp_path)
        results = explain(tmp_path, 'pushed', tmp_path / 'out').test_loop.results
        assert results['sources'] is None and all(
            prototype['source'] is None for tree in trees(tmp_path / 'out') for group in tree['groups']
            for prototype in group['prototypes'])

    def test_images_that_are_not_tested_as_they_are(self) -> None:
        model = build_tiny_segmentor(decode_head=GROUPS)
        sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 32, 32)),
                               metainfo=dict(padding_size=(0, 3, 0, 0), img_path='a.png'))
        with pytest.raises(ConfigError, match='"a.png" was padded'):
            ImageStudy(CLASSES)(model, 0, torch.zeros(1, 3, 32, 32), sample)
        model.test_cfg.mode = 'slide'
        with pytest.raises(ConfigError, match="mode is 'slide'"):
            ImageStudy(CLASSES)(model, 0, torch.zeros(1, 3, 32, 32), sample)


def test_region_weights_are_the_mean_over_the_enlarged_map() -> None:
    maps, region = torch.rand(3, 5, 7, dtype=torch.float64), torch.rand(40, 33) > 0.7
    for sizes, align in (([(40, 33)], False), ([(20, 28), (40, 33)], True)):
        weights = region_weights(region, (5, 7), sizes, align)
        assert float(weights.sum()) == pytest.approx(1)
        expected = resized(maps, sizes, align)[:, region].mean(1)
        torch.testing.assert_close((maps * weights).sum((1, 2)), expected)


def test_logit_sizes() -> None:
    model, sample = build_tiny_segmentor(), SegDataSample(metainfo=dict(ori_shape=(50, 60)))
    assert logit_sizes(model, torch.zeros(1, 3, 32, 40), sample) == [(50, 60)]
    model.one_step_resize = False
    assert logit_sizes(model, torch.zeros(1, 3, 32, 40), sample) == [(32, 40), (50, 60)]


def test_confusion() -> None:
    target = torch.tensor([[0, 0, 0, 1, 1, -1]])
    prediction = torch.tensor([[1, 1, 2, 1, 2, 2]])
    truth, predicted, pixels = confusion(prediction, target, 1)
    assert (truth, predicted, pixels.int().tolist()) == (0, 1, [[1, 1, 0, 0, 0, 0]])
    truth, predicted, pixels = confusion(prediction, target, 2)
    assert (truth, predicted) in ((0, 2), (1, 2)) and pixels.sum() == 1

"""What prototypes said of an episode, in an explanation run."""
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmfss.explainers import select_region
from mmfss.explanation.episodes.prototypes import explain_reading
from mmfss.explanation.map_store import MapStore
from mmfss.registry import EXPLAINERS
from mmfss.utils.config_options import ConfigError
from tests.test_explainers.test_prototypes import OPTIONS, build_model
from tests.test_explanation.explaining import explain, run_config, write_run
from tests.test_visualization.test_pages.test_explanation_page import Page
from tests.tiny.episode import draw_episode


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_run(tmp_path_factory.mktemp('prototypes'))
    cfg = Config.fromfile(path)
    cfg.model.head = dict(type='FewShotScaleProtoHead', **OPTIONS)
    cfg.dump(path)
    torch.save(dict(state_dict=build_model().state_dict()), path.with_suffix('.pth'))
    return path


def run(config: Path, out: Path, explainers: list[str], **changes: object) -> dict:
    cfg = run_config(config, out, region='ground_truth', **changes)
    cfg.test_cfg.explainers = explainers
    cfg.test_evaluator = cfg.test_evaluator[:1]
    return explain(cfg).test_loop.results


@pytest.mark.parametrize('decoder', [0, 8])
def test_complete(decoder: int) -> None:
    model, episode = build_model(decoder_channels=decoder), draw_episode(1, 2)
    region = select_region('ground_truth', model, episode)
    (reading, weights), = EXPLAINERS.build(dict(type='prototypes')).readings(model, episode, region)
    maps, assignments = MapStore(), MapStore()
    tree = explain_reading(reading, weights, 0, maps, assignments, MapStore())
    with torch.no_grad():
        logits = model.logits(episode.query[None], episode.support[None], episode.masks[None])[0]
    odds = float((logits[1] - logits[0])[region[0]].mean())
    parts = [group['contribution'] for group in tree['groups']]
    terms = {term['name']: term['contribution'] for term in tree['terms']}
    assert tree['total'] == pytest.approx(odds, rel=1e-5, abs=1e-5)
    whole = sum(parts) + terms['bias'] + terms['decoder']
    assert whole == pytest.approx(odds, rel=1e-5, abs=1e-5 * max(map(abs, parts)))
    assert (abs(terms['decoder']) < 1e-5) == (decoder == 0)
    for group in tree['groups']:
        assert (group['contribution'] > 0) == (group['side'] == 'object')
        assert sum(p['contribution'] for p in group['prototypes']) == pytest.approx(group['contribution'], rel=1e-5)
        assert sum(p['weight'] for p in group['prototypes']) == pytest.approx(1, rel=1e-5)
        activation = sum(p['weight'] * p['activation'] for p in group['prototypes'])
        assert activation == pytest.approx(group['activation'], rel=1e-5)
        sizes = [abs(p['contribution']) for p in group['prototypes']]
        assert sizes == sorted(sizes, reverse=True)
        assert torch.equal(maps.maps[group['map']],
                           reading.activations[0, group['group'] + 2 * (group['side'] == 'background')])
        for prototype in group['prototypes']:
            shot, row, column = (prototype['source'][key] for key in ('shot', 'row', 'column'))
            slot = prototype['index'] - 5 * prototype['scale']
            assert [shot, row, column] == reading.source_places()[0, prototype['scale'], slot].tolist()
            if 'assignment' in prototype['source']:
                shown = assignments.maps[prototype['source']['assignment']]
                expected = reading.assignment_maps()[0, prototype['scale'], slot, shot]
                torch.testing.assert_close(shown, expected / expected.max())


def test_run(config: Path, tmp_path: Path) -> None:
    results = run(config, tmp_path, ['prototypes', 'random'])
    assert set(results['scores']) == {'prototypes', 'random'} and results['seconds']['prototypes'] > 0
    drawn = sorted(path.parent for path in tmp_path.glob('episodes/*/panel_prototypes_1.png'))
    assert [folder.name for folder in drawn] == ['000000', '000001']
    for folder in drawn:
        record = json.loads((folder / 'record.json').read_text())
        assert set(record['files']) == {'attributions.npz', 'panel.png', 'panel_prototypes_1.png'}
        tree, = record['prototypes']
        assert tree['class_name'] == record['info']['class_names'][0]
        groups = [group for group in tree['groups'] if group['side'] == 'object']
        rows = len(groups) + min(2, len(tree['groups']) - len(groups))
        shown = max(sum('map' in prototype for prototype in group['prototypes']) for group in tree['groups'])
        width, height = Image.open(folder / 'panel_prototypes_1.png').size
        assert height == (1 + rows) * (208 + 22 + 8) + 26 + 2 * 8 and width >= (1 + 2 * min(shown, 1)) * 216 + 8
        arrays = np.load(folder / 'attributions.npz')
        assert {'prototypes', 'random'} <= set(arrays.files) and arrays['prototypes'].shape[-2:] == (64, 64)
    others = [json.loads(path.read_text()) for path in tmp_path.glob('episodes/00000[2-4]/record.json')]
    assert len(others) == 3 and not any('prototypes' in record for record in others)
    page, text = Page(tmp_path / 'index.html'), (tmp_path / 'index.html').read_text(encoding='utf-8')
    assert not page.open and not page.addresses and not re.findall(r'https?://(?!www\.w3\.org/2000/svg)', text)
    assert ['prototypes' in entry for entry in page.episodes] == [True, True, False, False, False]
    assert page.episodes[0]['explainers'] == ['prototypes', 'random']
    entry = page.episodes[0]['prototypes']
    for tree in entry['classes']:
        for group in tree['groups']:
            for prototype in group['prototypes']:
                assert prototype['map'] < len(entry['maps'])
                assert entry['sources'][prototype['source']]['patch'].startswith('data:image/')
    times = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob('episodes/*/record.json'))]
    run(config, tmp_path, ['prototypes', 'random'])
    assert times == [path.stat().st_mtime_ns for path in sorted(tmp_path.glob('episodes/*/record.json'))]


def test_without_the_explainer_nothing_is_read(config: Path, tmp_path: Path) -> None:
    run(config, tmp_path, ['random'])
    assert not list(tmp_path.glob('episodes/*/panel_prototypes*'))
    assert 'prototypes' not in json.loads((tmp_path / 'episodes' / '000000' / 'record.json').read_text())


def test_a_head_without_prototypes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='"prototypes" failed on episode 0 .*: ValueError: a DCAMAHead has no '
                       'prototypes to read, as a FewShotScaleProtoHead .*signed_affex'):
        run(write_run(tmp_path), tmp_path / 'out', ['prototypes'])

import base64
import io
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Iterator

import numpy as np
import pytest
from PIL import Image

from mmfss.visualization import write_explanation_page
from mmfss.visualization.pages.episode import encode_map, episode_entry, outline
from mmfss.visualization.pages.explanation_page import MeanCurves
from mmfss.visualization.pages.file import join_scripts

EXPLAINERS = ('unmasked_affex', 'signed_affex', 'saliency', 'integrated_gradients', 'lime', 'xrai', 'random',
              'gaussian_noise', 'grad_cam')
NASTY = '</script><script>alert(1)</script>&"\'<b>'


def write_episode(root: Path, index: int = 0, ways: int = 1, shots: int = 1, side: int = 128, name: str = 'dog',
                  explainers: tuple[str, ...] = EXPLAINERS, pictures: bool = True, empty: bool = False) -> dict:
    """Files of an episode as an explanation run leaves them; returns its record."""
    rng = np.random.default_rng(index)
    folder = root / 'episodes' / f'{index:06d}'
    folder.mkdir(parents=True)
    labels = np.zeros((side, side), dtype=np.uint8)
    labels[side // 4:side // 2, side // 4:side // 2] = 1
    arrays = dict(prediction=labels, target=labels, support_masks=np.broadcast_to(labels, (ways, shots, side, side)))
    if not empty:
        # Two of pure noise, which compresses worst; the others as coarse as those of a network.
        coarse = {key: rng.random((ways, shots, side // 8, side // 8)).astype(np.float16) for key in explainers}
        maps = {key: values.repeat(8, 2).repeat(8, 3) for key, values in coarse.items()}
        for key in explainers[-2:]:
            maps[key] = rng.random((ways, shots, side, side)).astype(np.float16)
        arrays.update(maps, region=np.broadcast_to(labels, (ways, side, side)))
    np.savez_compressed(folder / 'attributions.npz', **arrays)
    info = dict(class_names=[name] * ways, query_name=f'{name}.jpg', support_names=[[f'{name}.jpg'] * shots] * ways)
    if pictures:
        picture = root / 'picture.jpg'
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(picture)
        info.update(img_path=str(picture), support_paths=[[str(picture)] * shots] * ways)
    scores = {'IAUC': {key: dict(value=0.5, curve=[0.1, None, 0.3 + index]) for key in explainers},
              'mIoULoss@1%': {key: dict(value=None, curve=None) for key in explainers}}
    record = dict(index=index, info=info, empty=empty, reason=None, iou=0.123456789, scores=scores,
                  seconds=dict.fromkeys(explainers, 1 / 3),
                  contributions=dict(signed_affex=dict(layers=[[0.25, 0.75]] * ways, shots=[[1.]] * ways)))
    if empty:
        record.update(reason='nothing was predicted', scores={}, seconds={}, contributions={})
    return record


RESULTS = dict(
    num_episodes=2, mean_iou=0.5, region='prediction',
    metrics={name: dict(higher_is_better=name == 'IAUC', percent=True) for name in ('IAUC', 'mIoULoss@1%')},
    scores={key: {'IAUC': dict(value=50.0, interval=[40., 60.], num_nan=0),
                  'mIoULoss@1%': dict(value=float('nan'), interval=None, num_nan=2)} for key in EXPLAINERS},
    seconds=dict.fromkeys(EXPLAINERS, 0.1), versions=dict(torch='not shown'))


class Page(HTMLParser):
    """Scripts, attributes and open elements of a page."""

    VOID = ('meta', 'input', 'img', 'br')

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.scripts: list[tuple[dict, str]] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(path.read_text(encoding='utf-8'))
        self.close()

    def handle_starttag(self, tag: str, attributes: list) -> None:
        attributes = dict(attributes)
        self.addresses += [value for key, value in attributes.items() if key in ('src', 'href', 'srcset', 'action')]
        self.ids += [attributes['id']] if 'id' in attributes else []
        if tag == 'script':
            self.scripts.append((attributes, ''))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == 'script':
            attributes, text = self.scripts.pop()
            self.scripts.append((attributes, text + data))

    def data(self, name: str) -> dict:
        text, = (text for attributes, text in self.scripts if attributes.get('id') == name)
        return json.loads(text)

    @property
    def episodes(self) -> list[dict]:
        return [json.loads(text) for attributes, text in self.scripts if attributes.get('class') == 'item']


def picture(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(',')[1]))))


class TestPage:

    def test_self_contained(self, tmp_path: Path) -> None:
        records = [write_episode(tmp_path, 0), write_episode(tmp_path, 1, ways=2, shots=3, side=64, name='cat')]
        path = write_explanation_page(tmp_path, RESULTS, records)
        assert path == tmp_path / 'index.html' and {item.name for item in tmp_path.iterdir()} == {
            'index.html', 'episodes', 'picture.jpg'}
        page = Page(path)
        assert not page.open and not page.addresses and len(set(page.ids)) == len(page.ids)
        text = path.read_text(encoding='utf-8')
        assert "default-src 'none'" in text and not re.findall(r'https?://(?!www\.w3\.org/2000/svg)', text)
        assert '{{' not in text and str(tmp_path) not in text
        first, second = page.episodes
        assert first['classes'] == ['dog'] and first['explainers'] == list(EXPLAINERS) and first['iou'] == 0.123456789
        assert [[list(shot['maps']) for shot in way] for way in second['supports']] == [[list(EXPLAINERS)] * 3] * 2
        assert first['seconds']['lime'] == 0.3333 and first['contributions']['signed_affex']['layers'] == [[0.25, 0.75]]
        summary = page.data('summary-data')
        assert summary['scores']['lime']['mIoULoss@1%'] == dict(value=None, interval=None, num_nan=2)
        assert summary['curves'] == dict(IAUC={key: [0.1, None, 0.8] for key in EXPLAINERS})
        assert 'versions' not in summary

    def test_every_element_that_the_script_asks_for_exists(self, tmp_path: Path) -> None:
        page = Page(write_explanation_page(tmp_path, RESULTS, [write_episode(tmp_path)]))
        script = page.scripts[-1][1]
        assert set(re.findall(r"[$]\('([\w-]+)'\)", script)) <= {*page.ids, 'item-title'}
        assert {f'{name}-data' for name in ('summary', 'colours')} <= set(page.ids)
        assert 'innerHTML' not in script and 'fetch(' not in script

    @pytest.mark.skipif(shutil.which('node') is None, reason='Node.js is not installed')
    @pytest.mark.parametrize('name', ['page.js', 'images.js'])
    def test_script_is_valid(self, name: str, tmp_path: Path) -> None:
        script = tmp_path / name
        script.write_text(join_scripts(['common.js', 'prototype_cards.js', name]), encoding='utf-8')
        checked = subprocess.run(['node', '--check', str(script)], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr

    @pytest.mark.skipif(shutil.which('node') is None, reason='Node.js is not installed')
    def test_filter_by_class(self) -> None:
        line, = re.findall(r'^const matches = .*$', join_scripts(['common.js']), re.MULTILINE)
        items = [dict(classes=[]), dict(classes=['Dog', 'cat'])]
        code = f'{line}\nconsole.log(JSON.stringify(["", "dog"].map(w => {json.dumps(items)}.map(i => matches(i, w)))))'
        shown = subprocess.run(['node', '-e', code], capture_output=True, text=True, check=True).stdout
        assert json.loads(shown) == [[True, True], [False, True]]

    def test_an_episode_without_a_figure(self, tmp_path: Path) -> None:
        record = dict(write_episode(tmp_path, side=32, explainers=('a', )), iou=float('nan'))
        page = Page(write_explanation_page(tmp_path, RESULTS, [record]))
        brief, = (attributes['data-brief'] for attributes, _ in page.scripts if attributes.get('class') == 'item')
        # As a browser reads it: NaN is no JSON.
        assert json.loads(brief, parse_constant=pytest.fail) == dict(index=0, classes=['dog'], iou=None, empty=False)

    def test_text_cannot_become_markup(self, tmp_path: Path) -> None:
        record = write_episode(tmp_path, name=NASTY.replace('/', '\\'), explainers=('a',))
        record['info']['class_names'] = [NASTY]
        path = write_explanation_page(tmp_path, dict(RESULTS, config=NASTY), [record], title=NASTY)
        text = path.read_text(encoding='utf-8')
        assert 'alert(1)</script>' not in text and '<b>' not in text
        page = Page(path)
        assert page.episodes[0]['classes'] == [NASTY] and page.data('summary-data')['config'] == NASTY
        brief = next(attributes for attributes, _ in page.scripts if attributes.get('class') == 'item')['data-brief']
        assert json.loads(brief)['classes'] == [NASTY] and not page.open

    def test_names_that_are_no_text(self, tmp_path: Path) -> None:
        name = os.fsdecode(b'caf\xe9')
        record = write_episode(tmp_path, side=32, explainers=('a', ))
        record['info']['class_names'] = [name]
        assert Page(write_explanation_page(tmp_path, RESULTS, [record])).episodes[0]['classes'] == [name]

    def test_small(self, tmp_path: Path) -> None:
        record = write_episode(tmp_path)
        empty, one = (write_explanation_page(tmp_path, RESULTS, records).stat().st_size for records in ([], [record]))
        assert one - empty < 100_000
        large = write_episode(tmp_path, 1, side=800)
        assert write_explanation_page(tmp_path, RESULTS, [large]).stat().st_size - empty < 500_000

    def test_streams(self, tmp_path: Path) -> None:

        def records() -> Iterator[dict]:
            for index in range(3):
                yield write_episode(tmp_path, index, side=32)
                # Done with before the next one is asked for.
                shutil.rmtree(tmp_path / 'episodes' / f'{index:06d}')

        page = Page(write_explanation_page(tmp_path, RESULTS, records()))
        assert [episode['index'] for episode in page.episodes] == [0, 1, 2]

    def test_limit(self, tmp_path: Path) -> None:
        records = [write_episode(tmp_path, index, side=32, explainers=('a',)) for index in range(3)]
        page = Page(write_explanation_page(tmp_path, RESULTS, records, max_episodes=2))
        assert len(page.episodes) == 2 and page.data('summary-data')['curves']['IAUC']['a'][2] == pytest.approx(1.3)

    def test_limit_in_bytes(self, tmp_path: Path) -> None:
        records = [write_episode(tmp_path, index, side=32, explainers=('a',)) for index in range(3)]
        whole = write_explanation_page(tmp_path, RESULTS, records).stat().st_size
        page = Page(write_explanation_page(tmp_path, RESULTS, records, max_bytes=1))
        assert [episode['index'] for episode in page.episodes] == [0]
        assert page.data('summary-data')['curves']['IAUC']['a'][2] == pytest.approx(1.3)
        assert (tmp_path / 'index.html').stat().st_size < whole

    def test_episodes_without_arrays_are_left_out(self, tmp_path: Path) -> None:
        records = [dict(write_episode(tmp_path, index, side=32), files=['attributions.npz'] * (index == 1))
                   for index in range(3)]
        page = Page(write_explanation_page(tmp_path, RESULTS, records, max_episodes=1))
        assert [episode['index'] for episode in page.episodes] == [1]

    def test_failure_keeps_the_old_page(self, tmp_path: Path) -> None:
        record = write_episode(tmp_path, side=32)
        old = write_explanation_page(tmp_path, RESULTS, [record]).read_bytes()
        with pytest.raises(FileNotFoundError, match='Episode 7 has a record, but no ".*000007.attributions.npz"'):
            write_explanation_page(tmp_path, RESULTS, [record, dict(record, index=7)])
        assert (tmp_path / 'index.html').read_bytes() == old and not list(tmp_path.glob('.index*'))

    def test_empty_episode_and_no_results(self, tmp_path: Path) -> None:
        page = Page(write_explanation_page(tmp_path, {}, [write_episode(tmp_path, empty=True, side=32)]))
        episode, = page.episodes
        assert episode['empty'] and episode['reason'] == 'nothing was predicted' and episode['explainers'] == []
        assert 'region' not in episode['query'] and episode['query']['prediction'][0]
        assert page.data('summary-data') == dict(curves={}, items='episodes')


class TestEpisode:

    def test_pictures(self, tmp_path: Path) -> None:
        record = write_episode(tmp_path, side=64)
        Image.fromarray(np.full((500, 1000, 3), (250, 120, 10), np.uint8)).save(tmp_path / 'wide.png')
        record['info']['img_path'] = str(tmp_path / 'wide.png')
        entry = episode_entry(record, tmp_path / 'episodes' / '000000')
        assert (entry['query']['width'], entry['query']['height']) == (1000, 500)
        shown = picture(entry['query']['src'])
        assert shown.shape == (192, 384, 3) and np.abs(shown.astype(int) - (250, 120, 10)).max() < 8
        assert picture(entry['supports'][0][0]['src']).shape == (64, 64, 3)

    def test_pictures_that_are_gone(self, tmp_path: Path) -> None:
        record = write_episode(tmp_path, side=64)
        record['info'].update(img_path=str(tmp_path / 'gone.jpg'), support_paths=None)
        entry = episode_entry(record, tmp_path / 'episodes' / '000000')
        assert entry['query']['src'] is None and entry['supports'][0][0]['src'] is None

    def test_pictures_stored_with_the_maps(self, tmp_path: Path) -> None:
        record = write_episode(tmp_path, side=64, pictures=False)
        file = tmp_path / 'episodes' / '000000' / 'attributions.npz'
        arrays = dict(np.load(file))
        stored = dict(query=np.full((64, 64, 3), 40, np.uint8), supports=np.full((1, 1, 64, 64, 3), 200, np.uint8))
        np.savez(file, **arrays, **stored)
        entry = episode_entry(record, file.parent)
        assert abs(int(picture(entry['query']['src']).mean()) - 40) < 3
        assert abs(int(picture(entry['supports'][0][0]['src']).mean()) - 200) < 3
        assert entry['explainers'] == list(EXPLAINERS)

    def test_maps_of_a_class_share_a_scale(self, tmp_path: Path) -> None:
        record = dict(write_episode(tmp_path, ways=1, shots=2, side=64, explainers=('a', )), neutral=dict(b=[0.25]))
        file = tmp_path / 'episodes' / '000000' / 'attributions.npz'
        arrays = dict(np.load(file))
        levels = np.stack([np.full((64, 64), 0.), np.full((64, 64), 0.5)])[None]
        np.savez(file, **{**arrays, 'a': levels, 'b': levels})
        entry = episode_entry(record, file.parent)
        for name in 'ab':
            means = [picture(shot['maps'][name]).mean() for shot in entry['supports'][0]]
            assert means == pytest.approx([0, 255], abs=2)
        assert entry['signed'] == ['b']


class TestParts:

    def test_map_survives(self) -> None:
        rows, columns = np.mgrid[:128, :128] / 127
        heat = (rows + columns) / 2
        shown = picture(encode_map(heat))
        grey = shown if shown.ndim == 2 else shown[..., 0]
        assert np.abs(grey / 255 - heat).max() < 0.03
        assert max(picture(encode_map(np.ones((300, 600)))).shape[:2]) == 192

    def test_outline(self) -> None:
        mask = np.zeros((100, 100), dtype=bool)
        mask[20:80, 20:80] = True
        assert outline(mask, (100, 100)).count('M') == 1
        numbers = [int(number) for number in re.findall(r'-?\d+', outline(mask, (200, 100)))]
        assert numbers[:2] == pytest.approx([40, 20], abs=2)
        mask[40:60, 40:60] = False
        assert outline(mask, (100, 100)).count('M') == 2
        assert outline(np.zeros((10, 10), dtype=bool), (50, 50)) == ''
        assert outline(np.eye(2, dtype=bool)[:1], (2, 1)) == 'M0 0z'

    def test_outline_of_a_thin_object_in_a_large_picture(self) -> None:
        mask = np.zeros((1024, 2048), dtype=bool)
        mask[100:900, 501:505] = True
        for shift in range(6):
            assert outline(np.roll(mask, shift, axis=1), (384, 192)).count('M') == 1

    def test_mean_curves(self) -> None:
        curves = MeanCurves()
        for curve in ([1., None, 3.], [3., None], None):
            curves.add(dict(scores=dict(IAUC=dict(a=dict(value=None, curve=curve)))))
        curves.add(dict(scores={}))
        assert curves.means() == dict(IAUC=dict(a=[2., None, 3.]))

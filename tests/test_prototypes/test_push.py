"""The push as a whole: files, resumption, processes."""
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmfss.prototypes import PrototypePush
from mmfss.prototypes.sources import PROVENANCE, PUSHED, PrototypeSources
from mmfss.utils.checkpoint import load_model_checkpoint
from tests import processes
from tests.tiny.seg import CLASSES, TinySegDataset, build_tiny_segmentor

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / 'tests/tiny/seg.py')
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))


@pytest.fixture(scope='module')
def pushed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp('push')
    return folder, PrototypePush(TinySegDataset()).run(build_tiny_segmentor(), folder)


def assert_same(folder: Path, other: Path) -> None:
    assert json.loads((folder / PROVENANCE).read_text()) == json.loads((other / PROVENANCE).read_text())
    one, two = (torch.load(path / PUSHED)['state_dict'] for path in (folder, other))
    assert one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)


def test_model_and_record(pushed: tuple[Path, dict]) -> None:
    folder, record = pushed
    assert record == json.loads((folder / PROVENANCE).read_text()) | dict(duplicates=record['duplicates'])
    assert record['absent_classes'] == ['ghost'] and record['num_images'] == 9
    model = build_tiny_segmentor(seed=1)
    load_model_checkpoint(model, folder / PUSHED)
    head = model.decode_head
    assert head.num_prototypes == len(record['prototypes']) == 12 - len(record['duplicates'])
    dataset = TinySegDataset()
    for entry in record['prototypes']:
        item = dataset[entry['image_index']]
        data = model.data_preprocessor(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]))
        with torch.no_grad():
            z = head.scale_features(head.features(model.extract_feat(data['inputs'])))
        row, col = entry['cell']
        assert head.prototypes[entry['index']].equal(z[0, entry['scale'], :, row, col])
        assert head.proto_source[entry['index']].tolist() == [entry['image_index'], row, col, entry['scale']]
        assert entry['class_name'] == CLASSES[entry['class_id']] and entry['image'] == f'{entry["image_index"]}.png'


def test_pictures(pushed: tuple[Path, dict]) -> None:
    folder, record = pushed
    for entry in record['prototypes']:
        files = entry['files']
        top, bottom, left, right = entry['activation_box']
        assert Image.open(folder / files['boxes']).size == Image.open(folder / files['heat']).size == (32, 32)
        assert Image.open(folder / files['patch']).size == (right - left, bottom - top)
        assert list(np.load(folder / files['activation']).shape) == entry['grid'] == [4, 4]
        assert Image.open(folder / files['class_patch']).size[0] > 0
    assert not [path for path in folder.rglob('.*') if path.is_file()]


def test_killed_and_continued(pushed: tuple[Path, dict], tmp_path: Path) -> None:
    model, killed = build_tiny_segmentor(), TinySegDataset(fail_at=5)
    with pytest.raises(KeyboardInterrupt):
        PrototypePush(killed, save_interval=2).run(model, tmp_path)
    assert not (tmp_path / PUSHED).exists()
    rest = TinySegDataset()
    PrototypePush(rest, save_interval=2).run(build_tiny_segmentor(), tmp_path)
    assert rest.read[:5] == [4, 5, 6, 7, 8]
    assert_same(tmp_path, pushed[0])


def test_state_of_another_model_is_not_taken_up(pushed: tuple[Path, dict], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        PrototypePush(TinySegDataset(fail_at=5), save_interval=2).run(build_tiny_segmentor(seed=3), tmp_path)
    data = TinySegDataset()
    PrototypePush(data).run(build_tiny_segmentor(), tmp_path)
    assert data.read[:9] == list(range(9))
    assert_same(tmp_path, pushed[0])


def test_two_processes(pushed: tuple[Path, dict], tmp_path: Path) -> None:
    done = processes.run(SCRIPT, 'push', tmp_path, env=ENVIRONMENT, distributed=2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same(tmp_path, pushed[0])


def test_again_changes_nothing(pushed: tuple[Path, dict], tmp_path: Path) -> None:
    model = build_tiny_segmentor()
    load_model_checkpoint(model, pushed[0] / PUSHED)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record = PrototypePush(TinySegDataset(), pictures=False).run(model, tmp_path)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(entry['distance'] == 0 and 'files' not in entry for entry in record['prototypes'])


def test_sources_are_read(pushed: tuple[Path, dict], tmp_path: Path) -> None:
    folder, record = pushed
    sources = PrototypeSources(folder / PROVENANCE)
    assert len(sources) == len(record['prototypes']) and sources[3] == record['prototypes'][3]
    top, bottom, left, right = sources[3]['activation_box']
    assert sources.patch(3).shape == (bottom - top, right - left, 3)
    model = build_tiny_segmentor(seed=1)
    with pytest.raises(ValueError, match='are not those of the model .16 prototypes'):
        sources.check(model.decode_head)
    load_model_checkpoint(model, folder / PUSHED)
    sources.check(model.decode_head)


def test_missing_and_broken_sources(pushed: tuple[Path, dict], tmp_path: Path) -> None:
    content = json.loads((pushed[0] / PROVENANCE).read_text())
    (tmp_path / PROVENANCE).write_text(json.dumps(content))
    sources = PrototypeSources(tmp_path / PROVENANCE)
    with pytest.raises(FileNotFoundError, match=r'source image "\d.png" of prototype 0 does not exist'):
        sources.image(0)
    with pytest.raises(FileNotFoundError, match='picture .* of prototype 0 does not exist'):
        sources.patch(0)
    Image.new('RGB', (32, 32), (9, 9, 9)).save(tmp_path / 'source.png')
    sources[0].update(image=str(tmp_path / 'source.png'), files={})
    assert (sources.patch(0) == 9).all() and sources.image(0).shape == (32, 32, 3)
    with pytest.raises(FileNotFoundError, match='push_prototypes.py writes'):
        PrototypeSources(tmp_path / 'none.json')
    for text in ('', '{}', '{"prototypes": [{"index": 3}]}'):
        (tmp_path / 'bad.json').write_text(text)
        with pytest.raises(ValueError, match='bad.json" holds no'):
            PrototypeSources(tmp_path / 'bad.json')


@pytest.mark.parametrize(('options', 'message'), [
    (dict(absent='keep'), "absent must be 'drop' or 'collapse'"),
    (dict(duplicates='none'), "duplicates must be 'class' or 'all'"),
    (dict(batch_size=0), 'batch_size and save_interval must be at least 1')])
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrototypePush(TinySegDataset(), **options)


def test_model_without_prototypes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no prototypes: its decode_head is a NoneType'):
        PrototypePush(TinySegDataset()).run(torch.nn.Identity(), tmp_path)

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmfss.apis.episode_tasks import EpisodeSource
from mmfss.commands import analyze_episodes
from mmfss.evaluation.episode_table import EpisodeRow, write_episodes
from tests.tiny.data import write_class_folders
from tests.tiny.fold_config import fold_config
from tests.tiny.model import build_tiny_model


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('run')
    path = folder / 'tiny.py'
    fold_config(data=str(write_class_folders(folder / 'data'))).dump(path)
    return path


@pytest.fixture(scope='module')
def episodes(config: Path) -> Path:
    source = EpisodeSource(str(config), num_shots=2)
    rows = []
    for index in range(len(source)):
        info = source.dataset.get_data_info(index)
        rows.append(EpisodeRow(index, info['class_names'][0], info['query']['name'], ('a', 'b'), index / 10, 0.2, 1, 2,
                               0))
    path = config.parent / 'episodes.csv'
    write_episodes(rows, path)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, 'argv', ['analyze_episodes.py', *map(str, arguments)])
    analyze_episodes.main()


def test_source_gives_original_pictures(config: Path) -> None:
    source = EpisodeSource(str(config), num_shots=2)
    task = source.task(1)
    assert task.query.shape == (60, 80, 3) and task.target.shape == (60, 80) and set(np.unique(task.target)) == {0, 1}
    pairs, = task.support.values()
    assert len(pairs) == 2 and all(mask.any() for _, mask in pairs)
    name = source.class_names[0]
    assert list(EpisodeSource(str(config), class_name=name).task(0).support) == [name]


def test_page_with_predictions(config: Path, episodes: Path, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture) -> None:
    import torch
    checkpoint = config.parent / 'tiny.pth'
    torch.save(dict(state_dict=build_tiny_model().state_dict(), meta={}), checkpoint)
    run(monkeypatch, episodes, '--config', config, '--checkpoint', checkpoint, '--count', 2, '--device', 'cpu')
    out = episodes.parent / 'analysis'
    page = (out / 'index.html').read_text()
    assert page.index('Worst') < page.index('Episode 0:') < page.index('Best') < page.index('Episode 4:')
    assert 'http' not in page and 'mean IoU 20.0' in capsys.readouterr().out
    pictures = sorted(out.glob('episode_*.jpg'))
    assert len(pictures) == 4 and Image.open(pictures[0]).width > 4 * 80
    for name in ('iou_by_class.png', 'iou_by_size.png'):
        assert np.asarray(Image.open(out / name)).std() > 5


def test_another_config_is_refused(config: Path, episodes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture) -> None:
    text = episodes.read_text().splitlines()
    wrong = tmp_path / 'episodes.csv'
    fields = text[1].split(',')
    fields[2] = 'other'
    wrong.write_text(f'{text[0]}\n{",".join(fields)}\n')
    with pytest.raises(SystemExit):
        run(monkeypatch, wrong, '--config', config)
    assert 'is not the tested one' in capsys.readouterr().err

"""Cross-domain configs from the download to the results: converters, then tools/test.py, run in this process."""
import json
import runpy
import sys
import uuid
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmfss import register_all_modules
from mmfss.datasets import ISICIndex
from mmfss.registry import MODELS
from tests.test_datasets.layouts import write_fss
from tests.tiny.data import draw_picture

ROOT = Path(__file__).parents[2]
TINY = dict(depth=18, stem_channels=8, base_channels=8, init_cfg=None)
SIDE = 128
CLASSES = dict(
    deepglobe=['agriculture', 'urban', 'rangeland', 'forest', 'water', 'barren'],
    isic=['nevus', 'melanoma', 'seborrheic_keratosis'],
    lung=['lung'],
    fss1000=['class09', 'class10', 'class11'])
COLORS = [(255, 255, 0), (0, 255, 255), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def save(path: Path, picture: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def download_deepglobe(root: Path) -> list[str]:
    """Two satellite images; every tile shows an object of one class on land of another."""
    for number in (1, 2):
        scene, labels = (Image.new('RGB', (360, 360)) for _ in range(2))
        for place in range(36):
            row, column = divmod(place, 6)
            image, mask = draw_picture(f'{number}{place}', place % 6, (60, 60))
            colors = Image.new('RGB', (60, 60), COLORS[(place + 1) % 6])
            colors.paste(COLORS[place % 6], mask=Image.fromarray(mask))
            scene.paste(Image.fromarray(image), (60 * column, 60 * row))
            labels.paste(colors, (60 * column, 60 * row))
        (root / 'land').mkdir(parents=True, exist_ok=True)
        scene.save(root / 'land' / f'{number}_sat.jpg')
        labels.save(root / 'land' / f'{number}_mask.png')
    return ['deepglobe.py', str(root / 'land'), str(root / 'data')]


def download_isic(root: Path) -> list[str]:
    """Nine images with their masks, and the list of diagnoses."""
    rows = ['ID,Class']
    for number in range(9):
        name = f'ISIC_{number:07d}'
        image, mask = draw_picture(name, number % 3)
        save(root / 'isic' / ISICIndex.IMAGES / f'{name}.jpg', image)
        save(root / 'isic' / ISICIndex.MASKS / f'{name}_segmentation.png', mask.astype('u1') * 255)
        rows.append(f'{name},{CLASSES["isic"][number % 3]}')
    (root / 'isic' / 'class_id.csv').write_text('\n'.join(rows) + '\n')
    return ['isic.py', str(root / 'isic'), str(root / 'data')]


def download_lung(root: Path) -> list[str]:
    """Three X-rays of either source: two masks each, or one."""
    for number in range(3):
        name = f'MCUCXR_{number:04d}_0.png'
        image, mask = draw_picture(name, 0)
        left, right = mask.copy(), mask.copy()
        left[:, 40:], right[:, :40] = False, False
        save(root / 'mcu' / 'CXR_png' / name, image[..., 0])
        save(root / 'mcu' / 'ManualMask' / 'leftMask' / name, left.astype('u1') * 255)
        save(root / 'mcu' / 'ManualMask' / 'rightMask' / name, right.astype('u1') * 255)
        name = f'CHNCXR_{number:04d}_1'
        image, mask = draw_picture(name, 0)
        save(root / 'chn' / f'{name}.png', image[..., 0])
        save(root / 'chn_masks' / f'{name}_mask.png', mask.astype('u1') * 255)
    return ['lung.py', str(root / 'data'), '--montgomery', str(root / 'mcu'), '--shenzhen', str(root / 'chn'),
            '--shenzhen-masks', str(root / 'chn_masks')]


DOWNLOADS = dict(deepglobe=download_deepglobe, isic=download_isic, lung=download_lung)


def run_tool(monkeypatch: pytest.MonkeyPatch, path: str, *arguments: Any) -> None:
    monkeypatch.setattr(sys, 'argv', [path, *map(str, arguments)])
    runpy.run_path(str(ROOT / 'tools' / path), run_name='__main__')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training serves all targets."""
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(ROOT / 'configs' / 'dmtnet' / 'resnet50_isic.py').model
    cfg.backbone.update(TINY)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build(cfg)
    path = tmp_path_factory.mktemp('trained') / 'dmtnet.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path) -> Callable:

    def call(config: str, *arguments: Any, options: tuple = ()) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        tiny = [f'model.backbone.{key}={value}' for key, value in TINY.items()]
        loader = ['num_workers=0', 'persistent_workers=False', 'batch_size=3', f'dataset.data_root={tmp_path / "data"}',
                  f'dataset.pipeline.0.transforms.2.scale=[{SIDE},{SIDE}]']
        run_tool(
            monkeypatch, 'test.py', ROOT / 'configs' / 'dmtnet' / f'{config}.py', checkpoint, '--out', 'out.json',
            *arguments, '--cfg-options', *tiny, *(f'test_dataloader.{option}' for option in loader),
            # MMEngine keeps one logger, with its stream, for each name and second.
            f'experiment_name={uuid.uuid4()}', *options)
        return json.loads((tmp_path / 'out.json').read_text())

    return call


def check(results: dict[str, Any], target: str, episodes: int) -> None:
    metrics = results['metrics']
    assert list(metrics['class_IoU']) == CLASSES[target] and metrics['episodes'] == episodes
    assert metrics['mIoU'] == pytest.approx(sum(metrics['class_IoU'].values()) / len(CLASSES[target]), abs=1e-3)
    for key in ('mIoU', 'FB-IoU'):
        low, high = metrics[f'{key}_interval']
        assert 0 <= low <= high <= 100 and 0 < metrics[key] < 100


@pytest.mark.parametrize('target', DOWNLOADS)
def test_from_download_to_results(target: str, evaluate: Callable, monkeypatch: pytest.MonkeyPatch,
                                  tmp_path: Path) -> None:
    tool, *arguments = DOWNLOADS[target](tmp_path)
    run_tool(monkeypatch, f'dataset_converters/{tool}', *arguments)
    results = evaluate(f'resnet50_{target}', '--episodes', 6, '--shots', 2, '--seed', 1)
    check(results, target, 6)
    said = results['episodes']
    assert said['dataset_name'] == dict(deepglobe='DeepGlobe', isic='ISIC', lung='Chest X-ray')[target]
    assert (said['num_ways'], said['num_shots'], said['num_episodes'], said['seed']) == (1, 2, 6, 1)
    assert said['sampler'] == 'PublishedProtocolSampler'
    assert said['lists'] == f'all images below "{tmp_path / "data"}"' and said['lists_official'] is False
    assert results['protocol'] == [
        f'the split lists are not the official ones ({said["lists"]})',
        '6 episodes of seed 1 were tested instead of the published 1200 or 600 of seed 0']
    assert results['loop'] == dict(type='TestLoop')


def test_fss1000(evaluate: Callable, tmp_path: Path) -> None:
    write_fss(tmp_path / 'data', [f'class{number:02d}' for number in range(12)])
    splits = tmp_path / 'data' / 'splits' / 'fss'  # where the config looks for them
    splits.mkdir(parents=True)
    for part, numbers in (('trn', range(6)), ('val', range(6, 9)), ('test', range(9, 12))):
        (splits / f'{part}.txt').write_text(''.join(f'class{number:02d}\n' for number in numbers))
    results = evaluate('resnet50_fss1000')
    # Every listed image is a query once, so the lists are all that is not as published.
    check(results, 'fss1000', 30)
    (reason, ) = results['protocol']
    assert reason == f'the split lists are not the official ones ({results["episodes"]["lists"]})'
    assert results['episodes']['lists'].startswith('unrecognized lists data/splits/fss/test.txt')
    assert evaluate('resnet50_fss1000', options=('test_dataloader.batch_size=7', ))['metrics'] == results['metrics']


def test_self_finetuning(evaluate: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool, *arguments = download_lung(tmp_path)
    run_tool(monkeypatch, f'dataset_converters/{tool}', *arguments)
    plain = evaluate('resnet50_lung', '--episodes', 6)
    tuned = evaluate('resnet50_lung_tsf', '--episodes', 6)
    check(tuned, 'lung', 6)
    assert tuned['loop'] == dict(type='SelfFinetuningTestLoop', lr=0.1)
    assert tuned['metrics']['mIoU'] != plain['metrics']['mIoU']
    # Too small a rate to change a pixel; the same loop by options, in the published order of episodes.
    options = ('test_cfg.type=SelfFinetuningTestLoop', 'test_cfg.lr=1e-12')
    assert evaluate('resnet50_lung', '--episodes', 6, options=options)['metrics'] == plain['metrics']
    shuffled = evaluate('resnet50_lung_tsf', '--episodes', 7, options=(
        'test_cfg.dropout=True', 'test_dataloader.drop_last=True', 'test_dataloader.dataset.sampler.shuffle_seed=0'))
    assert shuffled['metrics']['episodes'] == 6


def test_data_of_another_layout(evaluate: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                capsys: pytest.CaptureFixture) -> None:
    """A download that was not converted."""
    tool, *arguments = download_isic(tmp_path)
    run_tool(monkeypatch, f'dataset_converters/{tool}', *arguments)
    (tmp_path / 'data' / ISICIndex.IMAGES / '2').rename(tmp_path / 'data' / 'melanoma')
    with pytest.raises(SystemExit) as error:
        evaluate('resnet50_isic')
    assert error.value.code == 1
    assert 'ISICIndex: the data folder' in capsys.readouterr().err and not (tmp_path / 'out.json').exists()

from pathlib import Path
from typing import List

import pytest
import yaml

from mmfss.apis.model_zoo import build_model, get_config_path, get_model_config, list_models, load_model_index
from mmfss.utils import model_index
from mmfss.utils.config_options import ConfigError

CONFIG = """
default_scope = 'mmfss'
model = dict(type='mmpretrain.MobileNetV2', widen_factor=0.25)
test_dataloader = dict(dataset=dict(type='ShapesDataset', num_shots=1))
test_cfg = dict(type='EpisodicTestLoop')
test_evaluator = dict(type='EpisodicIoUMetric')
"""


def _write_index(root: Path, *names: str) -> Path:
    entries: List[dict] = []
    for name in names:
        method, stem = name.split('_', 1)
        config = Path('configs') / method / f'{stem}.py'
        (root / config).parent.mkdir(parents=True, exist_ok=True)
        (root / config).write_text(CONFIG)
        entries.append({'Name': name, 'Config': str(config)})
    (root / 'configs').mkdir(exist_ok=True)
    (root / 'configs' / 'metafile.yml').write_text(yaml.safe_dump(dict(Models=entries)))
    (root / 'model-index.yml').write_text('Import:\n  - configs/metafile.yml\n')
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    _write_index(tmp_path, 'dcama_swinb_coco20i_fold0', 'dcama_swinb_coco20i_fold1', 'dcama_swinb_coco20i_fold0_5shot',
                 'hsnet_r50_pascal5i_fold0')
    monkeypatch.setattr(model_index, 'get_package_root', lambda: tmp_path)
    return tmp_path


def test_list_models(root: Path) -> None:
    assert len(list_models()) == 4
    assert list_models('dcama_*_fold1') == ['dcama_swinb_coco20i_fold1']
    assert list_models('r50') == ['hsnet_r50_pascal5i_fold0']
    assert list_models('nothing') == []


@pytest.mark.parametrize('name, file', [
    ('dcama_swinb_coco20i_fold1', 'dcama/swinb_coco20i_fold1.py'),
    ('dcama_swinb_coco20i', 'dcama/swinb_coco20i_fold0.py'),
    # A config of its own for a number of shots; other numbers belong to the base.
    ('dcama_swinb_coco20i_5shot', 'dcama/swinb_coco20i_fold0_5shot.py'),
    ('dcama_swinb_coco20i_10shot', 'dcama/swinb_coco20i_fold0.py'),
    ('dcama_swinb_coco20i_fold1_2shot', 'dcama/swinb_coco20i_fold1.py'),
])
def test_get_config_path(root: Path, name: str, file: str) -> None:
    assert get_config_path(name) == root / 'configs' / file


@pytest.mark.parametrize('name, shots', [
    ('dcama_swinb_coco20i', 1),
    ('dcama_swinb_coco20i_5shot', 1),  # as its own file says
    ('dcama_swinb_coco20i_10shot', 10),
    ('dcama_swinb_coco20i_fold1_2shot', 2),
    ('hsnet_r50_pascal5i_fold0_5shot', 5),
    ('configs/hsnet/r50_pascal5i_fold0_5shot.py', 5),
])
def test_number_of_shots_in_a_name(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, shots: int) -> None:
    monkeypatch.chdir(root)
    assert get_model_config(name).test_dataloader.dataset.num_shots == shots
    model = build_model(name)
    assert type(model).__name__ == 'MobileNetV2'


def test_changes_come_after_the_name(root: Path) -> None:
    cfg = get_model_config('hsnet_r50_pascal5i_5shot', {'test_dataloader.dataset.num_shots': 3})
    assert cfg.test_dataloader.dataset.num_shots == 3


def test_unknown_name(root: Path) -> None:
    with pytest.raises(KeyError, match='no model "dcama_swin_coco20i_fold1". Did you mean dcama_swinb_coco20i_fold1'):
        get_config_path('dcama_swin_coco20i_fold1')
    for name in ('zzz', 'zzz_5shot', '5shot', '_5shot'):
        with pytest.raises(KeyError, match=f'no model "{name}"'):
            get_config_path(name)
    with pytest.raises(KeyError, match='"mmfss configs list" lists all'):
        get_config_path('zzz')


def test_build_model(root: Path) -> None:
    for source in ('hsnet_r50_pascal5i', get_config_path('hsnet_r50_pascal5i'), get_model_config('hsnet_r50_pascal5i')):
        model = build_model(source)
        assert type(model).__name__ == 'MobileNetV2' and not model.training


def test_broken_index(tmp_path: Path) -> None:
    _write_index(tmp_path, 'a_b', 'a_b')
    with pytest.raises(ValueError, match='names "a_b" a second time'):
        load_model_index(tmp_path)
    (tmp_path / 'configs' / 'metafile.yml').unlink()
    with pytest.raises(FileNotFoundError, match='imports "configs/metafile.yml", which does not exist'):
        load_model_index(tmp_path)


def test_index_of_the_package() -> None:
    """Every entry names an existing config, by the rule <method>_<config>; every config of a method has an entry."""
    root = model_index.get_package_root()
    index = load_model_index(root)
    for name, entry in index.items():
        config = root / entry['Config']
        assert config.is_file() and name == f'{config.parent.name}_{config.stem}'
    listed = {root / entry['Config'] for entry in index.values()}
    assert listed == {path for folder in {path.parent for path in listed} for path in folder.glob('*.py')}
    methods = {path.parent for path in (root / 'configs').glob('*/metafile.yml')}
    assert methods == {path.parent for path in listed}


@pytest.mark.parametrize('name', ['dcama_swinb_coco20i_fold0_5shot', 'dmtnet_resnet50_isic_5shot',
                                  'dmtnet_resnet50_isic_tsf_5shot', 'scaleproto_fss_resnet18_shapes_5shot'])
def test_five_shots_of_the_package(name: str) -> None:
    cfg = get_model_config(name)
    assert cfg.test_dataloader.dataset.num_shots == 5 and cfg.val_dataloader.dataset.num_shots == 1
    assert cfg.model == get_model_config(name.removesuffix('_5shot')).model


def test_ordinary_segmentation_has_no_shots() -> None:
    with pytest.raises(ConfigError, match='which has no "num_shots" to change'):
        get_model_config('scaleprotoseg_resnet18_shapes_stage1_5shot')

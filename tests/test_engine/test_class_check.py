"""Wrong class lists are refused before anything is trained."""
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

from mmfss.engine.class_check import ClassCheck
from mmfss.engine.phases import phases_of, train_phases
from mmfss.registry import DATASETS
from mmfss.utils.config_options import ConfigError
from tests.test_engine.test_phases import stage1, stage2
from tests.tiny.seg import CLASSES, TinySegDataset, build_tiny_segmentor

OTHER = dict(type='OtherClasses')


@DATASETS.register_module(force=True)
class OtherClasses(TinySegDataset):
    """Tiny pictures of other classes; with ``labelled=False``, without labels."""

    def __init__(self, classes: tuple[str, ...] = ('sky', 'road', 'car', 'ghost'), labelled: bool = True) -> None:
        super().__init__()
        self.metainfo, self.labelled = dict(classes=classes), labelled

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        if not self.labelled:
            del item['data_samples'].gt_sem_seg
        return item


def refused(cfg: Config, folder: Path, message: str, **options: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        train_phases(list(phases_of(cfg, folder)), **options)
    assert not list(folder.rglob('*'))


def push_of(cfg: Config) -> dict:
    return cfg.phases.joint.custom_hooks[-1]


def test_number_of_classes(tmp_path: Path) -> None:
    cfg = stage1()
    cfg.model.decode_head.num_classes = 3
    refused(cfg, tmp_path, 'num_classes is 3, but the training data have 4 classes: ground, bar, disc, ghost')


def test_validation_of_other_classes(tmp_path: Path) -> None:
    cfg = stage1()
    cfg.val_dataloader.dataset = OTHER
    refused(cfg, tmp_path, 'ground, bar, disc, ghost in train_dataloader, sky, road, car, ghost in val_dataloader')


@pytest.mark.parametrize(('dataset', 'message'), [
    (OTHER, '4 and 4, class 0 is "sky", not "ground".*Leave out'),
    (dict(OTHER, classes=CLASSES[:3]), '3 and 4, class 3 is nothing, not "ghost"'),
    (dict(OTHER, classes=CLASSES, labelled=False), 'no image with labels'),
])
def test_push_over_other_data(tmp_path: Path, dataset: dict, message: str) -> None:
    """Before the phase ahead of the joint one, too."""
    cfg = stage1()
    push_of(cfg).dataset = dataset
    refused(cfg, tmp_path, message)


def test_push_of_a_single_run(tmp_path: Path) -> None:
    """The hook checks as well, for a training that is not started by phases."""
    joint = next(phase.cfg for phase in phases_of(stage1(), tmp_path) if phase.name == 'joint')
    push_of(Config(dict(phases=dict(joint=joint)))).dataset = OTHER
    joint.work_dir, joint.experiment_name = str(tmp_path / 'run'), 'push_of_a_single_run'
    with pytest.raises(ConfigError, match='other classes than the training data'):
        RUNNERS.build(joint).train()
    assert not list(tmp_path.rglob('*.pth'))


@pytest.mark.parametrize(('classes', 'message'), [
    (('sky', 'road', 'car', 'ghost'), r'are those of other data: its classes are sky, .*of train_dataloader ground'),
    (CLASSES, None), (None, None)])
def test_prototypes_of_other_data(tmp_path: Path, classes: tuple[str, ...] | None, message: str | None) -> None:
    path = tmp_path / 'pushed.pth'
    weights = build_tiny_segmentor().state_dict()
    torch.save(dict(meta=dict(dataset_meta=dict(classes=classes)), state_dict=weights), path)
    if message:
        refused(stage2(), tmp_path / 'work', message, load_from=str(path))
    else:
        ClassCheck().check_weights(str(path), next(phases_of(stage2(), tmp_path)).cfg)


def test_missing_stage1(tmp_path: Path) -> None:
    cfg = stage2()
    cfg.load_from = str(tmp_path / 'joint/pushed.pth')
    with pytest.raises(FileNotFoundError, match='joint/pushed.pth" that .* does not exist. Train stage 1'):
        train_phases(list(phases_of(cfg, tmp_path)))
    cfg.load_from = '{stage1}/joint/pushed.pth'
    refused(cfg, tmp_path, 'holds no "stage2"')


def test_models_without_classes_pass() -> None:
    ClassCheck().check(Config(dict(model=dict(type='FewShotSegmentor', head=dict()), train_dataloader=None)))

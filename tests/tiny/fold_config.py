"""A config of one fold of the tiny model, on class folders."""
import copy
from typing import Any

from mmengine.config import Config

from tests.tiny.data import PIPELINE
from tests.tiny.model import TINY_MODEL


def fold_config(fold: int = 0, data: str = 'data', model: dict = TINY_MODEL, **val: Any) -> Config:
    def loader(part: str, **changes: Any) -> dict:
        dataset = dict(type='ImageFolderDataset', data_root=data, split=part, fold=fold, num_folds=2,
                       pipeline=PIPELINE, sampler=dict(type='UniformEpisodeSampler', num_episodes=5))
        return dict(batch_size=2, num_workers=0, dataset={**dataset, **changes},
                    sampler=dict(type='DefaultSampler', shuffle=False))

    return Config(dict(
        default_scope='mmfss', custom_imports=dict(imports=['mmfss'], allow_failed_imports=False),
        model=copy.deepcopy(model),
        val_dataloader=loader('val', **val), test_dataloader=loader('test'), val_cfg=dict(type='ValLoop'),
        val_evaluator=dict(type='EpisodicIoU'), test_cfg=dict(type='TestLoop'),
        test_evaluator=dict(type='EpisodicIoU', num_replicates=0)), cfg_text='-', filename=f'm/x_fold{fold}.py')

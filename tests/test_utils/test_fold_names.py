"""Folds that have no file of their own."""
from pathlib import Path

import pytest

from mmfss.utils.config import load_config
from mmfss.utils.config_options import ConfigError

CONFIGS = Path(__file__).parents[2] / 'configs'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def test_only_the_folds_differ() -> None:
    first = load_config(CONFIGS / 'dcama/dinov3-s_coco20i_fold0.py').to_dict()
    other = load_config(CONFIGS / 'dcama/dinov3-s_coco20i_fold2_5shot.py').to_dict()
    for loader in LOADERS:
        assert first[loader]['dataset'].pop('fold') == 0 and other[loader]['dataset'].pop('fold') == 2
    assert first['test_dataloader']['dataset'].pop('num_shots') == 1
    assert other['test_dataloader']['dataset'].pop('num_shots') == 5
    assert first == other


def test_own_file_counts() -> None:
    cfg = load_config(CONFIGS / 'dcama/resnet18_shapes_fold1.py')
    assert cfg.model.backbone.init_cfg.checkpoint.endswith('shapes_fold1.pth')


@pytest.mark.parametrize('name', ['dinov3-s_coco20i_fold4', 'dinov3-s_coco20i_fold4_5shot', 'dinov3-x_coco20i_fold1'])
def test_folds_that_do_not_exist(name: str) -> None:
    with pytest.raises(ConfigError, match=f'{name}.py" does not exist. Did you mean'):
        load_config(CONFIGS / f'dcama/{name}.py')

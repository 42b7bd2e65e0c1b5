from pathlib import Path
from typing import Any, Dict

import pytest
from mmengine.config import Config

from mmfss.utils.config import load_config
from mmfss.utils.config_options import ConfigError, accepted_arguments, check_options, find_class, parse_options
from tests.test_engine.toy import toy_config


@pytest.fixture(scope='module')
def cfg() -> Config:
    return toy_config(Path('anywhere'), 'options')


@pytest.mark.parametrize('options', [
    {'model.dropout': 0.1},
    {'model.width': 4},  # an argument the config does not mention
    {'train_dataloader.batch_size': 1},
    {'train_dataloader.persistent_workers': True},
    {'train_dataloader.dataset.noise': 0.0},
    {'optim_wrapper.optimizer.nesterov': True},
    {'optim_wrapper.paramwise_cfg.custom_keys.head.lr_mult': 2},
    {'optim_wrapper.accumulative_counts': 2},
    {'train_cfg.max_iters': 3},
    {'custom_hooks.0.kill_at': None},
    {'randomness.deterministic': True},
    {'load_from': 'x.pth'},
    {'find_unused_parameters': True},
    {'default_hooks.timer.type': 'IterTimerHook'},
    {'val_cfg.lr': 1e-6, 'val_cfg.type': 'SelfFinetuningTestLoop'},  # an argument of the new type
])  # yapf: disable
def test_right_keys(cfg: Config, options: Dict[str, Any]) -> None:
    check_options(cfg, options)


@pytest.mark.parametrize('key, message', [
    ('model.droput', r'"model" \(ToyModel\) has no key "droput". Did you mean model.dropout\?'),
    ('modle.dropout', 'the config has no key "modle". Did you mean model'),
    ('batch_size', 'Did you mean train_dataloader.batch_size'),
    ('train_dataloader.batchsize', 'Did you mean train_dataloader.batch_size'),
    ('train_dataloader.dataset.sizes', 'Did you mean train_dataloader.dataset.size'),
    ('optim_wrapper.optimizer.learning', 'no key "learning"'),
    ('optim_wrapper.optimiser.lr', 'Did you mean optim_wrapper.optimizer'),
    ('train_cfg.max_iter', 'Did you mean train_cfg.max_iters'),
    ('val_cfg.half', 'no key "half". It has: .*fp16'),
    ('randomness.sead', 'Did you mean randomness.seed'),
    ('default_hooks.chekpoint.interval', 'Did you mean default_hooks.checkpoint'),
    ('custom_hooks.1.kill_at', '"custom_hooks" is a list of 1, it has no element "1"'),
    ('train_cfg.max_iters.x', '"train_cfg.max_iters" is 20, it has no keys'),
])
def test_wrong_keys(cfg: Config, key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f'--cfg-options {key}: .*{message}'):
        check_options(cfg, {key: 1})


@pytest.mark.parametrize('pair', ["features=dict(type='A',reader=dict(indices=[19]))", "features=dict(type='A')",
                                  "features={'type': 'A'}", 'size=[1,2'])
def test_values_that_cannot_be_read(pair: str) -> None:
    with pytest.raises(ConfigError, match='the value cannot be read.*of a dict, name each key with dots'):
        parse_options([pair])


def test_keys_that_the_new_type_does_not_have(cfg: Config) -> None:
    with pytest.raises(ConfigError, match=r'"val_cfg" \(SelfFinetuningTestLoop\) has no key "rate"'):
        check_options(cfg, {'val_cfg.rate': 1e-6, 'val_cfg.type': 'SelfFinetuningTestLoop'})
    assert 'type' not in cfg.val_cfg


def test_arguments_passed_on_to_the_base_class() -> None:

    class Base:

        def __init__(self, a: int) -> None:
            pass

    class Child(Base):

        def __init__(self, *args: Any, b: int = 0, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    assert accepted_arguments(Child) == {'a', 'b'}
    assert accepted_arguments(lambda **kwargs: None) is None


class TestLoadConfig:

    def test_missing_file_suggests_others(self, tmp_path: Path) -> None:
        (tmp_path / 'dcama').mkdir()
        (tmp_path / 'dcama' / 'swinb_coco20i_fold0.py').touch()
        message = 'swinb_coco20_fold0.py" does not exist. Did you mean .*swinb_coco20i_fold0'
        with pytest.raises(ConfigError, match=message):
            load_config(tmp_path / 'dcama' / 'swinb_coco20_fold0.py')

    @pytest.mark.parametrize('text, message', [
        ('a = (', 'SyntaxError'), ("_base_ = 'no.py'", 'no.py'), ('a = 1 / 0', 'ZeroDivisionError'),
        ("custom_imports = dict(imports=['nothing.here'])", 'ImportError')])
    def test_broken_file(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / 'broken.py').write_text(text)
        with pytest.raises(ConfigError, match=f'broken.py" cannot be read: .*{message}'):
            load_config(tmp_path / 'broken.py')

    def test_a_folder_is_no_config(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match='is a folder: name a config file in it'):
            load_config(tmp_path)

    def test_changes_are_applied(self, tmp_path: Path) -> None:
        (tmp_path / 'a.py').write_text("randomness = dict(seed=1)\ncustom_hooks = [dict(type='IterTimerHook')]")
        cfg = load_config(tmp_path / 'a.py', {'randomness.seed': 5})
        assert cfg.randomness.seed == 5


def test_a_module_of_the_same_name_is_no_class() -> None:
    assert find_class('random').__name__ == 'RandomControl'
    assert find_class('json') is None

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmfss.evaluation.threshold_choice import (
    apply_choice,
    check_choosable,
    check_not_tested,
    choose,
    load_choice,
    model_key,
    save_choices,
    validates_on_tested_classes,
)
from mmfss.utils.config_options import ConfigError
from tests.tiny.fold_config import fold_config
from tests.tiny.model import TINY_MODEL

GRID = [0.25, 0.5, 0.75]
CLASSES = {0: ['ant', 'bee'], 1: ['cat', 'dog'], 2: ['elk', 'fox']}


def curve(fold: int, miou: list[float], **changes: Any) -> dict:
    episodes = dict(classes_of='val')
    return {**dict(config=f'm/x_fold{fold}.py', fold=fold, classes=CLASSES[fold], thresholds=GRID, mIoU=miou,
                   episodes=episodes), **changes}


class TestChoice:

    CURVES = [curve(0, [9, 5, 0]), curve(1, [0, 5, 8]), curve(2, [0, 1, 2])]

    def test_on_the_other_folds(self) -> None:
        choices = choose(self.CURVES)
        assert {fold: choice['threshold'] for fold, choice in choices.items()} == {'0': 0.75, '1': 0.25, '2': 0.5}
        assert choices['1']['chosen_on_folds'] == [0, 2]
        assert choices['1']['chosen_on_classes'] == ['ant', 'bee', 'elk', 'fox']
        assert (choices['1']['mIoU'], choices['1']['mIoU_at_0.5']) == (4.5, 3)
        assert choices['1']['source'] == 'chosen on validation episodes of fold 0, 2 (held-out classes)'

    @pytest.mark.parametrize('fold', [0, 1, 2])
    def test_its_own_curve_takes_no_part(self, fold: int) -> None:
        for own in ([100, 0, 0], [0, 0, 100], [float('nan')] * 3):
            changed = [{**c, 'mIoU': own} if c['fold'] == fold else c for c in self.CURVES]
            assert choose(changed)[str(fold)] == choose(self.CURVES)[str(fold)]

    def test_a_single_curve(self) -> None:
        choice = choose([curve(0, [1, 2, 3], episodes=dict(classes_of='train'))])['0']
        assert choice['threshold'] == 0.75 and choice['source'].endswith('fold 0 (training classes)')

    def test_folds_that_share_a_class(self) -> None:
        with pytest.raises(ConfigError, match='Fold 0 tests bee, and another fold validates on it'):
            choose([curve(0, [1, 2, 3]), curve(1, [1, 2, 3], classes=['bee', 'cow'])])

    def test_different_grids(self) -> None:
        with pytest.raises(ConfigError, match='one --step'):
            choose([curve(0, [1, 2, 3]), curve(1, [1, 2], thresholds=[0.5, 0.6]), curve(2, [1, 2, 3])])


class TestRefusals:

    def test_one_config_that_validates_on_tested_classes(self) -> None:
        with pytest.raises(ConfigError, match=r'"x.py" show the classes of its test.*all folds.*classes_of.*curve'):
            check_choosable([Path('x.py')], [fold_config()])
        check_choosable([Path('x.py')], [fold_config(classes_of='train')])

    def test_folds(self) -> None:
        check_choosable([Path('a.py'), Path('b.py')], [fold_config(0), fold_config(1)])
        for folds in ((0, 0), (1, 0, 1), (0, None)):
            with pytest.raises(ConfigError, match=r'got the folds \[.*c0.py, c1.py'):
                check_choosable([Path(f'c{place}.py') for place in range(len(folds))], [*map(fold_config, folds)])

    def test_chosen_on_what_is_tested(self) -> None:
        episodes = dict(classes=('ant', 'bee', 'cat'), fold_class_ids=[1])
        record = dict(value=0.3, source='chosen on x', chosen_on_classes=['ant', 'cat'])
        check_not_tested(record, episodes)
        check_not_tested(None, {})
        check_not_tested(dict(value=0.5, source='default'), dict(classes=('a', )))
        with pytest.raises(ConfigError, match=r'0.3 \(chosen on x\) was chosen on classes that are tested here: bee'):
            check_not_tested(dict(record, chosen_on_classes=['bee']), episodes)


class TestValidationClasses:

    @pytest.mark.parametrize(('val', 'expected'), [
        (dict(), True),
        (dict(classes_of='train'), False),
        (dict(fold=1), False),
        (dict(fold=None), True),
        (dict(type='FSS1000Dataset'), False),
    ])
    def test_of_folds(self, val: dict, expected: bool) -> None:
        cfg = fold_config()
        cfg.val_dataloader.dataset.update(val)
        assert validates_on_tested_classes(cfg) is expected

    def test_of_named_classes(self) -> None:
        cfg = fold_config(class_ids=['ant', 'bee'])
        cfg.test_dataloader.dataset.class_ids = ['cat']
        assert not validates_on_tested_classes(cfg)
        cfg.test_dataloader.dataset.class_ids = ['cat', 'bee']
        assert validates_on_tested_classes(cfg)

    def test_of_a_data_set_whose_splits_differ(self) -> None:
        cfg = fold_config(type='FSS1000Dataset')
        cfg.test_dataloader.dataset.type = 'FSS1000Dataset'
        assert not validates_on_tested_classes(cfg)
        cfg.val_dataloader.dataset.split = 'test'
        assert validates_on_tested_classes(cfg)

    def test_without_validation(self) -> None:
        assert not validates_on_tested_classes(Config(dict(test_dataloader=dict(dataset=dict(type='X')))))


class TestFile:

    def test_there_and_back(self, tmp_path: Path) -> None:
        path = tmp_path / 'choices.json'
        curves = [curve(0, [9, 5, 0]), curve(1, [0, 5, 8])]
        save_choices({'m/x': dict(curves=curves, choices=choose(curves))}, path)
        cfg = fold_config(1)
        # A copy elsewhere, and the same model with more shots.
        for name in ('m/x_fold1.py', 'elsewhere/x_fold1.py', 'm/x_fold1_5shot.py'):
            choice = load_choice(path, cfg, Path(name))
            assert choice['threshold'] == 0.25 and choice['file'] == str(path)
        record = apply_choice(cfg, choice)
        assert cfg.model.threshold == record['value'] == 0.25
        assert record['source'].startswith('chosen on validation episodes of fold 0') and 'threshold' not in record

    @pytest.mark.parametrize(('name', 'fold', 'message'), [
        ('m/y_fold0.py', 0, 'no threshold of "m/y" .*but of: m/x'),
        ('m/x_fold2.py', 2, 'for fold 2, but for the folds: 0, 1'),
    ])
    def test_nothing_for_this_config(self, tmp_path: Path, name: str, fold: int, message: str) -> None:
        curves = [curve(0, [9, 5, 0]), curve(1, [0, 5, 8])]
        save_choices({'m/x': dict(curves=curves, choices=choose(curves))}, tmp_path / 'c.json')
        with pytest.raises(ConfigError, match=message):
            load_choice(tmp_path / 'c.json', fold_config(fold), Path(name))

    def test_curves_alone(self, tmp_path: Path) -> None:
        save_choices({'m/x': dict(curves=[curve(0, [9, 5, 0])], choices={})}, tmp_path / 'c.json')
        with pytest.raises(ConfigError, match='curves alone'):
            load_choice(tmp_path / 'c.json', fold_config(0), Path('m/x_fold0.py'))

    @pytest.mark.parametrize('content', [None, '', '[]', '{"models": 3}', '{"models": {"m/x": []}}', '{"a": 1}'])
    def test_other_files(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / 'c.json'
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match='c.json: not a file of tools/analysis_tools/choose_threshold.py'):
            load_choice(path, fold_config(), Path('m/x_fold0.py'))

    def test_names(self) -> None:
        assert model_key(Path('configs/dcama/swinb_coco20i_fold1_5shot.py')) == 'dcama/swinb_coco20i'
        assert model_key(Path('a/resnet50_fss1000.py')) == 'a/resnet50_fss1000'

    def test_where_a_threshold_comes_from(self) -> None:
        assert apply_choice(fold_config(), None) == dict(value=0.5, source='default')
        cfg = fold_config(model=dict(TINY_MODEL, threshold=0.3))
        assert apply_choice(cfg, None) == dict(value=0.3, source='config')
        assert apply_choice(Config(dict(model=dict(type='EncoderDecoder'))), None) is None
        assert apply_choice(Config(dict(model=dict(type='NoSuchModel'))), None) is None

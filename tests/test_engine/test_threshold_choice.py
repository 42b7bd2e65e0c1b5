import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest
import torch
from mmengine.config import Config

from mmfss.engine.cross_validation import build_runner
from mmfss.engine.threshold_choice import (
    apply_choice,
    check_choosable,
    check_not_tested,
    choose,
    load_choice,
    model_key,
    save_choices,
    sweep_config,
    validates_on_tested_classes,
)
from mmfss.engine.threshold_loop import ThresholdLoop
from mmfss.evaluation.threshold_curve import ThresholdCounts, log_odds, threshold_grid
from mmfss.registry import MODELS, register_all_modules
from mmfss.utils.config_options import ConfigError
from tests.tiny.data import PIPELINE, write_class_folders
from tests.tiny.model import TINY_MODEL

GRID = [0.25, 0.5, 0.75]
CLASSES = {0: ['ant', 'bee'], 1: ['cat', 'dog'], 2: ['elk', 'fox']}


def curve(fold: int, miou: list[float], **changes: Any) -> dict:
    episodes = dict(classes_of='val')
    return {**dict(config=f'm/x_fold{fold}.py', fold=fold, classes=CLASSES[fold], thresholds=GRID, mIoU=miou,
                   episodes=episodes), **changes}


def config(fold: int = 0, data: str = 'data', model: dict = TINY_MODEL, **val: Any) -> Config:
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
            check_choosable([Path('x.py')], [config()])
        check_choosable([Path('x.py')], [config(classes_of='train')])

    def test_folds(self) -> None:
        check_choosable([Path('a.py'), Path('b.py')], [config(0), config(1)])
        for folds in ((0, 0), (1, 0, 1), (0, None)):
            with pytest.raises(ConfigError, match=r'got the folds \[.*c0.py, c1.py'):
                check_choosable([Path(f'c{place}.py') for place in range(len(folds))], [*map(config, folds)])

    @pytest.mark.parametrize(('changes', 'message'), [
        (dict(split='test'), "split='test': a threshold is chosen on validation episodes"),
        (dict(split='train'), "split='train': a threshold is chosen on validation episodes"),
    ])
    def test_other_episodes(self, changes: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            sweep_config(config(**changes), GRID, held_out=True)

    def test_no_validation(self) -> None:
        cfg = config()
        cfg.pop('val_dataloader')
        with pytest.raises(ConfigError, match='m/x_fold0.py" has no val_dataloader'):
            sweep_config(cfg, GRID, held_out=True)

    def test_no_threshold(self) -> None:
        with pytest.raises(ConfigError, match='is a EncoderDecoder, which has no threshold'):
            sweep_config(config(model=dict(type='EncoderDecoder')), GRID, held_out=True)

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
        cfg = config()
        cfg.val_dataloader.dataset.update(val)
        assert validates_on_tested_classes(cfg) is expected

    def test_of_named_classes(self) -> None:
        cfg = config(class_ids=['ant', 'bee'])
        cfg.test_dataloader.dataset.class_ids = ['cat']
        assert not validates_on_tested_classes(cfg)
        cfg.test_dataloader.dataset.class_ids = ['cat', 'bee']
        assert validates_on_tested_classes(cfg)

    def test_of_a_data_set_whose_splits_differ(self) -> None:
        cfg = config(type='FSS1000Dataset')
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
        cfg = config(1)
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
            load_choice(tmp_path / 'c.json', config(fold), Path(name))

    def test_curves_alone(self, tmp_path: Path) -> None:
        save_choices({'m/x': dict(curves=[curve(0, [9, 5, 0])], choices={})}, tmp_path / 'c.json')
        with pytest.raises(ConfigError, match='curves alone'):
            load_choice(tmp_path / 'c.json', config(0), Path('m/x_fold0.py'))

    @pytest.mark.parametrize('content', [None, '', '[]', '{"models": 3}', '{"models": {"m/x": []}}', '{"a": 1}'])
    def test_other_files(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / 'c.json'
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match='c.json: not a file of tools/analysis_tools/choose_threshold.py'):
            load_choice(path, config(), Path('m/x_fold0.py'))

    def test_names(self) -> None:
        assert model_key(Path('configs/dcama/swinb_coco20i_fold1_5shot.py')) == 'dcama/swinb_coco20i'
        assert model_key(Path('a/resnet50_fss1000.py')) == 'a/resnet50_fss1000'

    def test_where_a_threshold_comes_from(self) -> None:
        assert apply_choice(config(), None) == dict(value=0.5, source='default')
        cfg = config(model=dict(TINY_MODEL, threshold=0.3))
        assert apply_choice(cfg, None) == dict(value=0.3, source='config')
        assert apply_choice(Config(dict(model=dict(type='EncoderDecoder'))), None) is None
        assert apply_choice(Config(dict(model=dict(type='NoSuchModel'))), None) is None


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('choice')
    write_class_folders(root / 'data')
    register_all_modules(init_default_scope=True)
    for head in ('DCAMAHead', 'HSNetHead'):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = MODELS.build(dict(TINY_MODEL, head=dict(type=head)))
        torch.save(dict(state_dict=model.state_dict()), root / f'{head}.pth')
    return root


class TestSweep:
    """Each case: the head, ways and shots. HSNet's vote of three shots is no shift of one margin."""

    @pytest.mark.parametrize(('head', 'ways', 'shots'), [
        ('DCAMAHead', 1, 1), ('DCAMAHead', 1, 2), ('DCAMAHead', 2, 1), ('HSNetHead', 1, 1), ('HSNetHead', 1, 3)])
    def test_equals_tests(self, data: Path, tmp_path: Path, head: str, ways: int, shots: int) -> None:
        cfg = config(0, str(data / 'data'), dict(TINY_MODEL, head=dict(type=head)), num_ways=ways)
        cfg.test_dataloader.dataset.update(num_ways=ways, num_shots=shots)
        checkpoint = data / f'{head}.pth'
        found = build_runner(sweep_config(cfg, GRID, held_out=True, num_shots=shots), checkpoint, tmp_path).test()
        assert found['thresholds'] == GRID and len(set(found['mIoU'])) > 1
        for threshold, miou in zip(GRID, found['mIoU']):
            cfg.model.threshold = threshold
            # A rounded margin may fall on the other side of a threshold: a few pixels of 20000.
            assert miou == pytest.approx(build_runner(cfg, checkpoint, tmp_path).test()['mIoU'], abs=0.05)

    @pytest.mark.parametrize(('rule', 'shifts'), [(lambda logits: logits, True), (lambda logits: 1e3 * logits, False),
                                                  (lambda logits: logits.softmax(1), False)])
    def test_only_shifted_margins_are_counted_by_their_histogram(self, rule: Callable, shifts: bool) -> None:
        """Probabilities instead of logits, say, as DMTNet's ``one_shot_probabilities`` gives."""
        ways = [torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))]
        loop = ThresholdLoop.__new__(ThresholdLoop)
        loop.counts = ThresholdCounts([0], GRID)
        loop.model = SimpleNamespace(threshold=0.5)

        def compose(ways: list, size: tuple) -> torch.Tensor:
            background, foreground = ways[0].unbind(1)
            return rule(torch.stack((background + log_odds(loop.model.threshold), foreground), dim=1))

        loop.model.compose = compose
        margins = loop._shifting_margins(ways, (4, 4))
        assert (margins is not None) == shifts
        assert not shifts or torch.allclose(margins, ways[0][:, 1] - ways[0][:, 0])

    def test_episodes(self, data: Path) -> None:
        cfg = config(1, str(data / 'data'), classes_of='train', seed=4)
        kept = sweep_config(cfg, threshold_grid(), held_out=False)
        assert kept.test_dataloader.dataset == cfg.val_dataloader.dataset and 'classes_of' in cfg.val_dataloader.dataset
        changed = sweep_config(cfg, threshold_grid(), True, num_shots=2, num_episodes=3, seed=9).test_dataloader
        assert 'classes_of' not in changed.dataset and changed.dataset.split == 'val'
        assert (changed.dataset.num_shots, changed.dataset.num_episodes, changed.dataset.seed) == (2, 3, 9)
        assert changed.sampler == dict(type='DefaultSampler', shuffle=False, round_up=False)
        json.dumps(kept.test_cfg.to_dict())

"""Commands and inferencer without a checkpoint: for models that need no training, and for these alone."""
import json
import math
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from mmfss.apis import FewShotInferencer, init_model
from mmfss.apis.presence import calibration_record
from mmfss.commands import cross_validate, explain, image_demo, select_support, test, train
from mmfss.evaluation.episode_table import read_episodes
from mmfss.models import FeaturePyramid, MatchingHead
from mmfss.models.affinities import DotProductAffinity
from mmfss.models.layers.class_presence import PresenceCalibration
from mmfss.registry import MODELS
from mmfss.utils.files import dump_json
from tests.tiny.data import PIPELINE, write_class_folders
from tests.tiny.model import TINY_MODEL

BACKBONE = dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8)


class VoteHead(MatchingHead):
    """The mean support mask, weighted by attention between the coarsest maps, above its mean: nothing to train."""

    training_free = True

    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> tuple[Tensor, Tensor, tuple[int, int, int]]:
        keys = support[-1][-1].unflatten(0, masks.shape[:2])
        size = (masks.shape[1], *keys.shape[-2:])
        small = torch.nn.functional.interpolate(masks, size[1:], mode='area')
        return keys.permute(0, 1, 3, 4, 2).flatten(1, 3), small.flatten(1)[..., None], size

    def match(self, query: FeaturePyramid, encoding):
        keys, _, size = encoding
        feature = query[-1][-1]
        yield DotProductAffinity(feature.flatten(2).transpose(1, 2), keys, 1, tuple(feature.shape[-2:]), size)

    def aggregate(self, affinity, encoding) -> Tensor:
        return affinity.attend(encoding[1]).transpose(1, 2).unflatten(2, affinity.query_size)

    def decode(self, evidence, query: FeaturePyramid, encoding) -> Tensor:
        vote, = evidence
        return torch.cat((vote.mean((-2, -1), keepdim=True).expand_as(vote), vote), 1)


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp('training_free')
    write_class_folders(root / 'data')
    free = dict(type='FewShotSegmentor', data_preprocessor=dict(type='EpisodeDataPreProcessor'), backbone=BACKBONE,
                head=dict(type='VoteHead'))  # yapf: disable
    for fold in (0, 1):
        write_config(root / f'free_fold{fold}.py', fold, free)
    write_config(root / 'tiny.py', 0, TINY_MODEL)
    MODELS.register_module(module=VoteHead)
    yield root
    MODELS.module_dict.pop('VoteHead')


def write_config(path: Path, fold: int, model: dict) -> None:
    dataset = dict(type='ImageFolderDataset', data_root=str(path.parent / 'data'), split='test', fold=fold, num_folds=2,
                   pipeline=PIPELINE, sampler=dict(type='UniformEpisodeSampler', num_episodes=3))  # yapf: disable
    loader = dict(batch_size=1, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))
    Config(dict(default_scope='mmfss', custom_imports=dict(imports=['mmfss'], allow_failed_imports=False),
                randomness=dict(seed=0), model=model, test_dataloader=loader, test_cfg=dict(type='TestLoop'),
                test_evaluator=dict(type='EpisodicIoU'))).dump(path)  # yapf: disable


def call(monkeypatch: pytest.MonkeyPatch, command: ModuleType, *arguments: object) -> None:
    monkeypatch.setattr(sys, 'argv', [command.__name__, *map(str, arguments)])
    command.main()


class TestCommands:

    @pytest.mark.parametrize('checkpoint', [[], ['none']])
    def test_test(self, root: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: list[str]) -> None:
        call(monkeypatch, test, root / 'free_fold0.py', *checkpoint, '--work-dir', root / 'test', '--out',
             root / 'test.json')
        results = json.loads((root / 'test.json').read_text())
        assert results['checkpoint'] is None and 0 <= results['metrics']['mIoU'] <= 100

    def test_presence_is_written(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of each episode, without and with a calibration; predictions stay the same."""
        dump_json(calibration_record(PresenceCalibration([0.] * 5, [1.] * 5, [1., 1., 1., 1., 0.], -1.)),
                  root / 'calibration.json')
        rows = []
        for name, options in dict(plain=(), scored=('--presence', ), judged=('--presence', root / 'calibration.json')
                                  ).items():
            call(monkeypatch, test, root / 'free_fold0.py', '--work-dir', root / 'test', '--out',
                 root / name / 'test.json', *options)
            rows.append(read_episodes(root / name / 'episodes.csv'))
        plain, scored, judged = rows
        assert all(row.presence is None for row in plain)
        assert [row.iou for row in plain] == [row.iou for row in scored] == [row.iou for row in judged]
        for one, other in zip(scored, judged):
            assert other.presence == pytest.approx(1 / (1 + math.exp(1 - 4 * one.presence)), abs=2e-4)

    def test_explain(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        call(monkeypatch, explain, root / 'free_fold0.py', '--work-dir', root / 'explain', '--episodes', 1,
             '--explainer', 'masked_affex', '--metrics', 'miou_loss@5%', '--region', 'ground_truth', '--panels', 0)
        assert (root / 'explain' / 'explanations' / 'table.md').is_file()

    def test_select_support(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        call(monkeypatch, select_support, root / 'free_fold0.py', '--pool', 2, '--queries', 1, '--test-queries', 1,
             '--draws', 1, '--out', root / 'select', '--device', 'cpu')
        assert json.loads((root / 'select' / 'select_support.json').read_text())['checkpoint'] is None

    def test_cross_validate(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Four methods on two folds; with --train too, there is nothing to train. A second run tests nothing again."""
        arguments = (f'{root}/free_fold{{0..1}}.py', '--controls', '--train', '--out', root / 'folds')
        call(monkeypatch, cross_validate, *arguments)
        summary = json.loads((root / 'folds' / 'cross_validation.json').read_text())
        assert len(summary['rows']) == 4 and set(summary['checkpoints'].values()) == {None}
        assert all(set(row['folds']) == {'fold 0', 'fold 1'} for row in summary['rows'])
        monkeypatch.setattr('mmfss.engine.cross_validation.build_runner', lambda *args: pytest.fail('tested again'))
        call(monkeypatch, cross_validate, *arguments)

    def test_image_demo(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
        call(monkeypatch, image_demo, root / 'data/ant/images/0.jpg', root / 'free_fold0.py', '--support',
             root / 'data/bee/images/0.jpg', root / 'data/bee/masks/0.png', '--out-dir', root / 'demo', '--device',
             'cpu')
        assert 'free_fold0.py (ResNet, VoteHead; not trained)' in capsys.readouterr().out

    def test_train(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit):
            call(monkeypatch, train, root / 'free_fold0.py', '--work-dir', root / 'train')
        assert 'VoteHead has nothing to train. Test it: python tools/test.py ' in capsys.readouterr().err


class TestModelsThatMustBeTrained:

    @pytest.mark.parametrize('command', [test, explain, select_support, image_demo])
    def test_commands(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
                      command: ModuleType) -> None:
        arguments = [root / 'tiny.py', 'none']
        if command is image_demo:
            arguments = [root, *arguments, '--support', 'a', 'b', '--out-dir', root / 'demo']
        elif command is not select_support:
            arguments += ['--work-dir', root / 'refused']
        with pytest.raises(SystemExit):
            call(monkeypatch, command, *arguments)
        message = 'error: No checkpoint is given, but a FewShotSegmentor with a DCAMAHead must be trained'
        assert message in capsys.readouterr().err

    def test_cross_validate(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit):
            call(monkeypatch, cross_validate, root / 'tiny.py', '--work-dirs', root / 'none', '--out', root / 'folds')
        assert 'There is no checkpoint of ' in capsys.readouterr().err

    def test_init_model(self, root: Path) -> None:
        with pytest.warns(UserWarning, match='untrained'):
            init_model(root / 'tiny.py', device='cpu')
        with pytest.raises(ValueError, match='must be trained'):
            init_model(root / 'tiny.py', 'none', 'cpu')


def test_inferencer_does_not_warn(root: Path) -> None:
    image, mask = np.zeros((40, 60, 3), np.uint8), np.ones((40, 60), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        inferencer = FewShotInferencer(root / 'free_fold0.py', device='cpu')
    assert inferencer.model.training_free
    assert inferencer(image, support=[(image, mask)])['mask'].shape == (40, 60)


def test_checkpoint_after_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'argv', ['test.py', 'config.py', '--shots', '5', 'model.pth'])
    assert test.parse_args().checkpoint == 'model.pth'
    monkeypatch.setattr(sys, 'argv', ['image_demo.py', 'query.jpg', '--support', 'image.jpg', 'mask.png'])
    args = image_demo.parse_args()
    assert (args.config, args.checkpoint) == ('prototype_efficientnet-lite2_own', None)

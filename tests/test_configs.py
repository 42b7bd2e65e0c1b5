"""Every config of the package: it can be read, its model is built, and all that it names exists."""
import copy
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmfss.evaluation.attribution import InsertionDeletion, InsertionDeletionGap
from mmfss.evaluation.threshold_choice import validates_on_tested_classes
from mmfss.explainers.building import build_explainers, explainer_configs
from mmfss.explanation.episodes.loop import check_metrics
from mmfss.models import DiffewsSegmentor, FewShotSegmentor
from mmfss.models.backbones.packaged_weights import PACKAGES
from mmfss.registry import DATASETS, METRICS, MODELS, TRANSFORMS
from mmfss.utils.config import load_config
from mmfss.utils.config_options import accepted_arguments, find_class
from mmfss.utils.loaders import fill_loaders
from tests.tiny.weightless import Weightless

CONFIGS = Path(__file__).parents[1] / 'configs'
FILES = sorted(path for path in CONFIGS.glob('*/*.py') if path.parent.name != '_base_')
NAMES = [path.relative_to(CONFIGS).with_suffix('').as_posix() for path in FILES]
# Not episodes: backbones, ScaleProtoSeg and unrolled LRP are trained by ordinary segmentation. Explanations take the
# model and the data of a method's config, which are tested there.
OTHERS = ('backbones/', 'explain/', 'scaleprotoseg/', 'unrolled_lrp/')
EPISODIC = [name for name in NAMES if not name.startswith(OTHERS) and not name.endswith('_in_context')]
EXPLAINING = [name for name in NAMES if name.startswith('explain/')]
BASES = sorted(CONFIGS.glob('_base_/**/*.py'))
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')

# Each name is looked for once: in modules that do not exist, which takes most of the time.
class_of = functools.cache(find_class)
from_file = Config.fromfile
_read: dict[Path, Config] = {}
_built: dict[str, nn.Module] = {}


def read(name: str) -> Config:
    path = CONFIGS / f'{name}.py'
    if path not in _read:
        _read[path] = from_file(path)
    return _read[path]


def build(cfg: Config) -> nn.Module:
    """The model without weights; folds share it."""
    key = str(cfg.model)
    if key not in _built:
        with Weightless(), DefaultScope.overwrite_default_scope(cfg.default_scope):
            _built[key] = MODELS.build(cfg.model)
    return _built[key]


def typed(node: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """All dicts with a type, and where they are."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    if isinstance(node, dict) and 'type' in node:
        yield path, node
    for key, value in items:
        yield from typed(value, f'{path}.{key}' if path else str(key))


@pytest.mark.parametrize('name', NAMES)
class TestEveryConfig:

    def test_model(self, name: str) -> None:
        model = build(read(name))
        trainable = any(parameter.requires_grad for parameter in model.parameters())
        assert trainable != getattr(model, 'training_free', False)

    def test_types_and_their_arguments(self, name: str) -> None:
        for path, node in typed(read(name).to_dict()):
            found = class_of(node['type'])
            assert found is not None, f'{path}: there is no {node["type"]}'
            accepted = accepted_arguments(found)
            if path == 'optim_wrapper' or accepted is None:
                continue
            if found is InsertionDeletionGap:  # passes its arguments on to two metrics
                accepted |= accepted_arguments(InsertionDeletion)
            # Normalisation layers are built by a function that takes requires_grad.
            common = {'type', '_delete_', *(['requires_grad'] if path.endswith('norm_cfg') else [])}
            unknown = set(node) - accepted - common
            assert not unknown, f'{path}: {node["type"]} has no {unknown}; it has {sorted(accepted)}'


@pytest.mark.parametrize('name', EPISODIC)
class TestEveryEpisodicConfig:

    def test_frozen_backbone(self, name: str) -> None:
        model = build(read(name))
        if isinstance(model, DiffewsSegmentor):
            assert not any(parameter.requires_grad for parameter in model.vae.parameters())
            return
        assert isinstance(model, FewShotSegmentor)
        assert model.frozen_backbone == all(not parameter.requires_grad for parameter in model.backbone.parameters())

    def test_pipelines(self, name: str) -> None:
        cfg = read(name)
        for loader in LOADERS:
            steps = [TRANSFORMS.build(step) for step in cfg[loader].dataset.pipeline]
            assert type(steps[-1]).__name__ == 'PackEpisodeInputs'
            assert inspect.isclass(DATASETS.get(cfg[loader].dataset.type))

    def test_name(self, name: str) -> None:
        """<backbone>_<dataset>[_fold<k>][_tsf], 1-way 1-shot, and the three loaders agree."""
        cfg, parts = read(name), name.split('/')[1].split('_')
        folds = [int(part.removeprefix('fold')) for part in parts if part.startswith('fold')]
        for loader in LOADERS:
            assert cfg[loader].dataset.get('fold') == (folds[0] if folds else None)
            assert (cfg[loader].dataset.num_ways, cfg[loader].dataset.num_shots) == (1, 1)
            assert cfg[loader].dataset.split == loader.split('_')[0]

    def test_declared_weights(self, name: str) -> None:
        """A file of the repository or one that a config of configs/backbones makes, or one that the README names."""
        cfg = read(name)
        weights = cfg.model.get('backbone', cfg.model).get('init_cfg')
        if weights is None:
            assert not cfg.model.get('frozen_backbone')
            return
        readme = (CONFIGS / name).with_name('README.md').read_text()
        if weights.type == 'PackagedWeights':
            assert weights.package in PACKAGES and 'mmfss[lite2]' in readme
            return
        assert weights.type in ('Pretrained', 'TIMMWeights')
        named = weights.checkpoint.startswith('checkpoints/') and Path(weights.checkpoint).name in readme
        path = Path(weights.checkpoint)
        made_here = path.resolve().parent == CONFIGS / 'backbones' and path.with_suffix('.py').is_file()
        assert named or made_here

    def test_missing_weights(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cfg = read(name)
        key = 'model.backbone.init_cfg' if 'backbone' in cfg.model else 'model.init_cfg'
        weights = cfg.model.get('backbone', cfg.model).get('init_cfg') or {}
        if 'checkpoint' not in weights or Path(weights.checkpoint).is_file():
            return
        monkeypatch.chdir(tmp_path)
        message = f'{weights.checkpoint}.*{key}.checkpoint'
        with pytest.raises(FileNotFoundError, match=message):
            build(cfg).init_weights()


@pytest.mark.parametrize('shots', [2, 5])
@pytest.mark.parametrize('name', EPISODIC)
def test_number_of_shots_in_the_name(name: str, shots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """``..._<K>shot`` is the config with K supports in the tested episodes, and nothing else."""
    # A file that was read is not parsed again.
    monkeypatch.setattr(Config, 'fromfile', lambda path: copy.deepcopy(_read.get(path) or from_file(path)))
    cfg, expected = load_config(CONFIGS / f'{name}_{shots}shot.py'), copy.deepcopy(read(name))
    fill_loaders(expected)
    expected.test_dataloader.dataset.num_shots = shots
    assert cfg.to_dict() == expected.to_dict()


@pytest.mark.parametrize('name', EXPLAINING)
class TestEveryExplanation:

    def test_name(self, name: str) -> None:
        """<method>_<backbone>_<dataset>[_fold<k>][_<K>shot], of a model that has a config."""
        cfg, (method, *parts) = read(name), name.split('/')[1].split('_')
        shots = [int(part.removesuffix('shot')) for part in parts if part.endswith('shot')]
        folds = [part for part in parts if part.startswith('fold')]
        assert cfg.test_dataloader.dataset.num_shots == (shots or [1])[0]
        assert cfg.test_dataloader.dataset.fold == (int(folds[0].removeprefix('fold')) if folds else None)
        stem = '_'.join(part for part in parts if not part.endswith('shot')) + ('' if folds else '_fold0')
        assert cfg.model == read(f'{method}/{stem}').model

    def test_is_built(self, name: str) -> None:
        cfg = read(name)
        assert cfg.test_cfg.type == 'ExplanationLoop' and cfg.test_cfg.region == 'prediction'
        assert list(build_explainers(explainer_configs(cfg.test_cfg.explainers))) == list(cfg.test_cfg.explainers)
        check_metrics([METRICS.build(metric) for metric in cfg.test_evaluator])


@pytest.mark.parametrize('path', BASES, ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_types_of_bases(path: Path) -> None:
    for where, node in typed(Config.fromfile(path).to_dict()):
        assert class_of(node['type']) is not None, f'{where}: there is no {node["type"]}'


class TestRecipe:
    """The paper's training, where the configs promise it."""
    PAPER = [name for name in NAMES if name.startswith('dcama/') and name.split('/')[1].split('_')[0] in (
        'resnet50', 'resnet101', 'swinb')]

    @pytest.mark.parametrize('name', PAPER)
    def test_paper(self, name: str) -> None:
        cfg = read(name)
        total = 40 if 'fss1000' in name else 48
        assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == total
        assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4)
        assert cfg.param_scheduler == []
        assert cfg.model.head == dict(type='DCAMAHead', num_heads=8, dropout=0.5, attention_dropout=0.5)
        assert cfg.model.frozen_backbone
        assert cfg.test_dataloader.dataset.sampler.type == 'PublishedProtocolSampler'
        for loader in LOADERS:
            resize = cfg[loader].dataset.pipeline[0].transforms[-1]
            assert resize == dict(type='ResizeEpisodeImage', scale=(384, 384))

    def test_all_are_there(self) -> None:
        folds = [f'{data}_fold{fold}' for data in ('pascal5i', 'coco20i') for fold in range(4)] + ['fss1000']
        expected = {f'dcama/{backbone}_{rest}' for backbone in ('resnet50', 'resnet101', 'swinb') for rest in folds}
        assert expected <= set(NAMES)


class TestMixture:
    """In-context training: several datasets with all their classes."""

    def test_in_context(self) -> None:
        cfg = read('diffews/sd21_in_context')
        mixture = cfg.train_dataloader.dataset
        assert [part.dataset_name for part in mixture.datasets] == ['COCO', 'ADE20K', 'PASCAL VOC']
        assert all(part.fold is None and part.split == 'train' for part in mixture.datasets)
        assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].end == 120000
        assert cfg.val_dataloader.dataset.split == 'train'


class TestChoices:
    """Nothing is chosen on the classes that are tested, except where a published protocol does."""
    PUBLISHED = re.compile(r'(dcama|hsnet)/(resnet50|resnet101|swinb|vgg16)_(pascal5i|coco20i)_fold\d')

    @pytest.mark.parametrize('name', EPISODIC)
    def test_validation(self, name: str) -> None:
        if name == 'prototype/efficientnet-lite2_own':  # every class is tested, and nothing is trained or chosen
            return
        assert validates_on_tested_classes(read(name)) == bool(self.PUBLISHED.fullmatch(name))

    @pytest.mark.parametrize('name', NAMES)
    def test_no_config_sets_a_threshold(self, name: str) -> None:
        assert 'threshold' not in read(name).model

    @pytest.mark.parametrize('method', ['dcama', 'hsnet'])
    def test_pages_say_so(self, method: str) -> None:
        page = ' '.join((CONFIGS / method / 'README.md').read_text().split())
        assert 'the best checkpoint is chosen on the tested classes' in page

    @pytest.mark.parametrize('name', [name for name in NAMES if name.startswith('scaleprotoseg/') and (
        'shapes' in name or 'voc257' in name)])
    def test_ordinary_segmentation(self, name: str) -> None:
        """Their validation images are the tested ones: no best checkpoint, and no early stop before the end."""
        cfg = read(name)
        assert cfg.default_hooks.checkpoint.save_best is None
        for phase in (cfg.get('phases') or {}).values():
            hooks = [hook for hook in phase.get('custom_hooks') or () if 'EarlyStopping' in hook.type]
            train = {**cfg.train_cfg, **phase.get('train_cfg', {})}
            assert all(hook.patience > train['max_iters'] / train['val_interval'] for hook in hooks)

    def test_methods_on_the_same_data_train_alike(self) -> None:
        names = ('dcama', 'hsnet', 'dmtnet', 'scaleproto_fss')
        methods = [read(f'{name}/mobilenetv2_voc257_fold0') for name in names]
        for key in ('train_cfg', 'param_scheduler', 'optim_wrapper', 'train_dataloader', 'val_dataloader'):
            assert all(cfg[key] == methods[0][key] for cfg in methods)
        assert methods[0].train_cfg.max_iters == methods[0].param_scheduler[0].total_steps


def run(model: FewShotSegmentor, size: int) -> Tensor:
    model.eval()
    images, masks = torch.randn(1, 1, 1, 3, size, size), torch.ones(1, 1, 1, size, size)
    with torch.no_grad():
        return model.logits(torch.randn(1, 3, size, size), images, masks)


@pytest.mark.parametrize(('name', 'size'), [('convnext-tiny_pascal5i_fold0', 64), ('dinov2-small_pascal5i_fold0', 56),
                                            ('mobilenetv2_voc257_fold0', 65), ('resnet18_shapes_fold0', 64)])
def test_mixed_in_backbones_run(name: str, size: int) -> None:
    logits = run(MODELS.build(read(f'dcama/{name}').model), size)
    assert logits.shape == (1, 2, size, size) and logits.isfinite().all()


def test_data_root_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('VOC_ROOT', 'some/VOC2012')
    monkeypatch.setenv('VOC_SPLITS', 'some/lists')
    cfg = Config.fromfile(CONFIGS / 'dcama/mobilenetv2_voc257_fold1.py')
    for loader in LOADERS:
        assert (cfg[loader].dataset.data_root, cfg[loader].dataset.split_dir) == ('some/VOC2012', 'some/lists')

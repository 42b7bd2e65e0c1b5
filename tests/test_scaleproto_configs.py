"""Configs of ScaleProtoSeg: the published values, and that every phase can be built."""
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from mmfss import register_all_modules
from mmfss.datasets.unaugmented import unaugmented
from mmfss.engine.phases import Phase, follow_stage, phases_of
from mmfss.engine.schedule_end import end_with_training
from mmfss.registry import METRICS, MODELS, TRANSFORMS
from tests.tiny.weightless import Weightless

CONFIGS = Path(__file__).parents[1] / 'configs/scaleprotoseg'
# Classes, prototypes, input scales, crop, batch, accumulation; iterations of the phases; weights of L1 and entropy.
PUBLISHED = dict(
    resnet101_cityscapes=(19, 228, (), 513, 2, 5, (15000, 150000, 10000), 1e-4, (10000, 150000), 1e-3, 0.05),
    resnet101_voc12aug=(21, 252, (0.5, 0.75), 321, 2, 5, (15000, 150000, 30000), 1e-4, (10000, 150000), 1e-3, 0.05),
    resnet101_ade20k=(150, 1800, (), 512, 2, 5, (30000, 300000, 20000), 1e-5, (10000, 150000), 1e-4, 0.25),
    resnet101_cocostuff=(182, 2184, (0.5, 0.75), 321, 10, 1, (6000, 100000, 4000), 1e-5, (2000, 30000), 1e-4, 0.25),
    unet_isbiem=(2, 24, (), 512, 2, 1, (10000, 10000), 1e-4, (10000, ), 1e-4, 0.05))


def phases(name: str) -> list[Phase]:
    register_all_modules(init_default_scope=True)
    return list(phases_of(Config.fromfile(CONFIGS / f'{name}.py'), Path('work')))


def weights_of(cfg: Config) -> dict[str, float]:
    return {loss.type: loss.loss_weight for loss in cfg.model.decode_head.regularizers}


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_values(name: str) -> None:
    classes, prototypes, scales, crop, batch, accumulation, one, l1, two, group_l1, entropy = PUBLISHED[name]
    first, second = phases(f'{name}_stage1'), phases(f'{name}_stage2')
    assert tuple(phase.cfg.train_cfg.max_iters for phase in first) == one
    assert tuple(phase.cfg.train_cfg.max_iters for phase in second) == two
    for phase in [*first, *second]:
        cfg = phase.cfg
        assert cfg.model.decode_head.num_classes == classes and tuple(cfg.model.get('msc_scales', ())) == scales
        assert cfg.train_dataloader.batch_size == batch and cfg.optim_wrapper.accumulative_counts == accumulation
        assert cfg.model.data_preprocessor.size == (crop, crop) and cfg.randomness.seed == 20220227
        joint = phase.name.endswith('joint')
        schedulers = end_with_training(cfg.param_scheduler, cfg.train_cfg.max_iters)
        assert [s.end for s in schedulers] == ([cfg.train_cfg.max_iters + 1] if joint else [])
    assert weights_of(first[0].cfg) == dict(JeffreysDiversityLoss=0.25, OffClassL1Loss=l1)
    assert weights_of(second[0].cfg) == dict(OffClassL1Loss=group_l1, GroupEntropyLoss=entropy)
    with Weightless(), DefaultScope.overwrite_default_scope('mmfss'):
        assert MODELS.build(first[-1].cfg.model).decode_head.num_prototypes == prototypes
    assert [phase.result for phase in (*first, *second)] == [
        'pushed.pth' if phase.name == 'joint' else 'thresholded.pth' if phase.name == 'group_joint' else None
        for phase in (*first, *second)]


def test_parameter_groups_of_resnet101() -> None:
    """104 convolutions of the backbone, four weights and biases of the scale head, the prototypes; no normalization."""
    expected = dict(warmup={(2.5e-4, 5e-4): 8, (2.5e-4, 0.): 1},
                    joint={(2.5e-5, 5e-4): 104, (2.5e-4, 5e-4): 8, (2.5e-4, 0.): 1}, last_layer={(1e-5, 0.): 1})
    for phase in phases('resnet101_cityscapes_stage1'):
        with Weightless():
            model = MODELS.build(phase.cfg.model)
        groups: dict[tuple, list] = {}
        wrapper = build_optim_wrapper(model, phase.cfg.optim_wrapper)
        assert type(wrapper.optimizer).__name__ == 'Adam'
        for group in wrapper.optimizer.param_groups:
            for parameter in group['params']:
                groups.setdefault((round(group['lr'], 10), group['weight_decay']), []).append(parameter)
        assert {key: len(found) for key, found in groups.items()} == expected[phase.name]
        if phase.name == 'joint':
            sizes = {key: sum(parameter.numel() for parameter in found) for key, found in groups.items()}
            assert sizes == {(2.5e-5, 5e-4): 42394816, (2.5e-4, 5e-4): 4718592 + 256, (2.5e-4, 0.): 228 * 64}


def test_metrics_of_prototypes() -> None:
    register_all_modules(init_default_scope=True)
    for path in CONFIGS.glob('*_interpretability.py'):
        cfg = Config.fromfile(path)
        assert cfg.test_cfg.type == 'PrototypeTestLoop' and len(cfg.test_evaluator) == 5
        assert [METRICS.build(metric) for metric in cfg.test_evaluator]
        steps = [TRANSFORMS.build(step) for step in cfg.test_dataloader.dataset.pipeline]
        assert type(steps[-1]).__name__ == 'PackPartSegInputs'
        assert cfg.val_dataloader.dataset.pipeline[-1].type == 'PackSegInputs'


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_pipelines_and_models(path: Path) -> None:
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(path)
    pushed = cfg.get('push_dataset') or unaugmented(cfg)
    for pipeline in (cfg.val_dataloader.dataset.pipeline, pushed['pipeline']):
        assert [TRANSFORMS.build(step) for step in pipeline] and pipeline[-1].type == 'PackSegInputs'
    with Weightless():
        assert any(parameter.requires_grad for parameter in MODELS.build(cfg.model).parameters())


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_push(name: str) -> None:
    """Over the training images at native size; on PASCAL VOC over the official ones only."""
    joint = next(phase.cfg for phase in phases(f'{name}_stage1') if phase.name == 'joint')
    hook, = (hook for hook in joint.custom_hooks if hook.type == 'PrototypePushHook')
    data, training = hook.get('dataset') or unaugmented(joint), joint.train_dataloader.dataset.dataset
    assert [step['type'] for step in data['pipeline']] == ['LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs']
    part = training.datasets[0] if 'voc12aug' in name else training
    same = ('type', 'data_root', 'data_prefix', 'ann_file')
    assert {key: data.get(key) for key in same} == {key: part.get(key) for key in same}


def test_every_stage2_starts_from_its_stage1() -> None:
    paths = sorted(CONFIGS.glob('*_stage2.py'))
    assert len(paths) >= 8
    for path in paths:
        cfg = Config.fromfile(path)
        cfg.work_dir = f'work_dirs/scaleprotoseg/{path.stem}'
        follow_stage(cfg)
        stage1 = path.stem.replace('stage2', 'stage1')
        assert cfg.load_from == f'work_dirs/scaleprotoseg/{stage1}/joint/pushed.pth'
        assert path.with_stem(stage1).is_file()

import pytest

from mmfss import register_all_modules
from mmfss.evaluation import build_attribution_metric
from mmfss.evaluation.attribution import KNOWN_METRICS, attribution_metric_config


@pytest.mark.parametrize('name, expected', [
    ('iauc', dict(name='IAUC', mode='ins', measured='miou', num_steps=75, skip_empty=True, percentage=None)),
    ('dauc_confidence', dict(name='DAUC-confidence', mode='del', measured='confidence', skip_empty=False)),
    ('iauc@1%', dict(name='IAUC@1%', measured='confidence', num_steps=5, percentage=0.01, loss=False)),
    ('dauc@2.5%', dict(name='DAUC@2.5%', mode='del', percentage=0.025)),
    ('miou_loss@5%', dict(name='mIoULoss@5%', measured='miou', num_steps=1, percentage=0.05, loss=True)),
    ('confidence_loss@.5%', dict(name='ConfidenceLoss@0.5%', measured='confidence', skip_empty=True)),
    ('support_iauc', dict(name='Support-IAUC', mode='ins', measured='miou', skip_empty=True)),
    ('support_dauc_confidence', dict(name='Support-DAUC-confidence', measured='confidence')),
    ('diff', dict(name='Diff', higher_is_better=True)),
    ('infidelity', dict(name='Infidelity', num_perturbations=10, percent=False)),
])
def test_settings_of_the_paper(name: str, expected: dict) -> None:
    metric = build_attribution_metric(name)
    assert {key: getattr(metric, key) for key in expected} == expected


def test_every_known_name_builds_a_metric_of_its_own() -> None:
    names = [name.replace('P', '3') for name in KNOWN_METRICS]
    metrics = [build_attribution_metric(name) for name in names]
    assert len({metric.name for metric in metrics}) == len(names) >= 15


def test_options() -> None:
    metric = build_attribution_metric('iauc', num_steps=10, substrate='blur')
    assert metric.num_steps == 10 and metric.substrate.kind == 'blur'
    config = attribution_metric_config('iauc')
    config['mode'] = 'del'
    assert attribution_metric_config('iauc')['mode'] == 'ins'


def test_configs_are_for_config_files() -> None:
    register_all_modules()
    from mmengine.config import Config
    cfg = Config(dict(test_evaluator=[attribution_metric_config(name) for name in ('iauc', 'miou_loss@1%')]))
    assert Config.fromstring(cfg.pretty_text, '.py').test_evaluator == cfg.test_evaluator


@pytest.mark.parametrize('name', ['auc', 'miou_loss', 'iauc@%', 'iauc@1', 'support_iauc@1%', 'IAUC', 'miou_loss@-1%'])
def test_unknown_names_list_the_known(name: str) -> None:
    with pytest.raises(ValueError, match=f'Unknown attribution metric "{name}".*dauc_confidence.*miou_loss@P%'):
        build_attribution_metric(name)


@pytest.mark.parametrize('name', ['iauc@0%', 'iauc@101%', 'miou_loss@100%'])
def test_impossible_percentages(name: str) -> None:
    with pytest.raises(ValueError, match='percentage must be above 0'):
        build_attribution_metric(name)

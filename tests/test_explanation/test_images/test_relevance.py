"""Explanation of classifiers that segment by their relevance: scores of known maps, the command, what is refused."""
import json
import runpy
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from mmfss.evaluation.image_perturbation import area_under, perturbation_curve, substrate_of
from mmfss.explainers.image_maps import IMAGE_MAPS
from mmfss.explanation.choose_loop import choose_loop
from mmfss.explanation.images.relevance_loop import RelevanceExplanationLoop
from mmfss.utils.config_options import ConfigError
from tests.tiny.seg import TinySegDataset
from tests.tiny.unrolled_lrp import RESNET, build

TOOL = Path(__file__).parents[3] / 'tools' / 'explain.py'
MODEL = dict(
    type='UnrolledLRPSegmentor', backbone=RESNET, cls_head=dict(type='PooledClassifier', in_channels=32, num_classes=4),
    decode_head=dict(type='UnrolledLRPHead', chunk=4),
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[-1.] * 3, std=[256.] * 3, bgr_to_rgb=True))


def config(root: Path, **changes: Any) -> Config:
    return Config(dict(
        default_scope='mmfss', model=MODEL, work_dir=str(root / 'work'), log_level='WARNING',
        custom_imports=dict(imports=['mmfss', 'tests.tiny.seg'], allow_failed_imports=False),
        test_dataloader=dict(batch_size=3, num_workers=0, dataset=dict(type='TinySegDataset'),
                             sampler=dict(type='DefaultSampler', shuffle=False)),
        test_cfg=dict(type='TestLoop'), test_evaluator=dict(type='mmseg.IoUMetric'), **changes))


def options(root: Path, **changes: Any) -> Namespace:
    names = ('explainer', 'metrics', 'shots', 'ways', 'explainer_options', 'sources', 'failures', 'region', 'panels',
             'seed', 'batch_size')
    return Namespace(**{**dict.fromkeys(names), 'config': 'tiny.py', 'episodes': 2, 'overwrite': False,
                        'out': root / 'out', **changes})


@pytest.fixture(scope='module')
def explained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The command line on a config and a checkpoint: the folder and its results."""
    root = tmp_path_factory.mktemp('relevance')
    torch.save(dict(state_dict=build(seed=2).state_dict()), root / 'model.pth')
    cfg = config(root, experiment_name=root.name)
    assert choose_loop(cfg) is RelevanceExplanationLoop
    cfg.test_cfg = dict(type='RelevanceExplanationLoop', step=0.2)
    cfg.dump(root / 'tiny.py')
    arguments = ('tiny.py', 'model.pth', '--region', 'ground_truth', '--episodes', '2', '--panels', '1', '--out', 'out')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, 'argv', ['explain.py', *arguments])
        runpy.run_path(str(TOOL), run_name='__main__')
    return root / 'out', json.loads((root / 'out/results.json').read_text())


def test_run(explained: tuple[Path, dict]) -> None:
    out, results = explained
    assert set(results['scores']) == set(IMAGE_MAPS) and results['num_images'] == 2
    assert results['decoder'] == 'layer-wise relevance propagation'
    assert 0 < results['scores']['random']['relevance_mass']['value'] < 100
    page = (out / 'index.html').read_text()
    assert 'Explained images' in page and 'data-brief' in page
    assert 'deletion_blur' in (out / 'table.md').read_text() and (out / 'results.json').is_file()
    assert len(list(out.glob('images/*/panel.png'))) == 1


def test_records(explained: tuple[Path, dict]) -> None:
    out, _ = explained
    for path in out.glob('images/*/record.json'):
        record = json.loads(path.read_text())
        arrays = np.load(path.with_name('attributions.npz'))
        target = TinySegDataset()[record['index']]['data_samples'].gt_sem_seg.data[0].numpy()
        assert record['class_ids'] == [c for c in np.unique(target) if 0 < c < 4]
        assert (arrays['target'] == 255).sum() == (target == 255).sum()
        assert arrays['relevance'].shape == (len(record['class_ids']), 1, 32, 32)
        wrong = (target < 255).sum() - sum(pair[0] for pair in record['counts'].values())
        assert sum(count for *_, count in record['confusion']) == wrong
        curve = record['scores']['insertion_mean']['relevance']['curve']
        assert len(curve) == 6
        # The whole image, in another order: the two ends of deletion and insertion change places.
        assert curve[-1] == pytest.approx(record['scores']['deletion_mean']['saliency']['curve'][0], rel=1e-4, abs=1e-4)


def test_perturbation_of_a_known_model() -> None:
    """The logit is the sum of the left half: a map that knows it beats one that does not."""
    image = torch.zeros(1, 3, 8, 8)
    image[..., :4] = 1

    def classify(images: Tensor) -> Tensor:
        return images[:, :1, :, :4].sum((1, 2, 3))[:, None]

    right, wrong = image[0, 0], 1 - image[0, 0]
    curves = [perturbation_curve(classify, image, values, 0, 'deletion', 'mean', 0.25) for values in (right, wrong)]
    assert curves[0] == [32, 24, 16, 16, 16] and curves[1] == [32, 32, 32, 24, 16]
    assert area_under(curves[0]) < area_under(curves[1])
    inserted = perturbation_curve(classify, image, right, 0, 'insertion', 'mean', 0.25)
    assert inserted == [16, 24, 32, 32, 32]
    assert substrate_of(image, 'blur').shape == image.shape


def test_gradient_maps_agree_with_relevance() -> None:
    """Of a network without overlapping windows, Captum's input x gradient is the relevance."""
    model, image = build(unpool='sum'), torch.rand(1, 3, 40, 40)
    found, expected = (IMAGE_MAPS[name](model, image, [0, 2], 0).detach() for name in ('relevance', 'input_x_gradient'))
    assert float((found - expected).abs().max()) < 0.05 * float(expected.std())


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(shots=5), '--shots is not for classifiers'), (dict(sources='a'), '--sources is not for classifiers')])
def test_refused_options(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RelevanceExplanationLoop.configure(config(tmp_path), options(tmp_path, **changes))


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(explainers=['affex']), '--explainer affex: .* there are relevance, '),
    (dict(metrics=['iauc']), '--metrics iauc: .*deletion_mean'), (dict(step=0.), 'step must be above 0'),
    (dict(region='left'), 'test_cfg.region must be one of')])
def test_refused_arguments(tmp_path: Path, changes: dict, message: str) -> None:
    runner = Namespace(work_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=message):
        RelevanceExplanationLoop(runner, [], [], **changes)

"""The examples in the docstrings of the package run and print what they say."""
import doctest
import importlib
import logging
import pkgutil
from typing import Iterator

import pytest
import torch

import mmfss

MODULES = [info.name for info in pkgutil.walk_packages(mmfss.__path__, 'mmfss.')]
SHOWN = {
    'mmfss.apis.inferencer': ['FewShotInferencer'],
    'mmfss.datasets.class_indices.base': ['label_format'],
    'mmfss.datasets.episodic_dataset': ['EpisodicDataset'],
    'mmfss.datasets.folder_datasets': ['ImageFolderDataset'],
    'mmfss.datasets.masks': ['read_object_mask'],
    'mmfss.datasets.samplers.fixed': ['FixedEpisodeSampler'],
    'mmfss.datasets.samplers.published': ['PublishedProtocolSampler'],
    'mmfss.datasets.samplers.stream': ['EpisodeStream'],
    'mmfss.datasets.samplers.uniform': ['UniformEpisodeSampler'],
    'mmfss.datasets.shapes.dataset': ['ShapesDataset'],
    'mmfss.evaluation.attribution.presets': ['build_attribution_metric'],
    'mmfss.evaluation.episodic_iou': ['EpisodicIoU'],
    'mmfss.explainers.base': ['Explainer.explain'],
    'mmfss.models.affinities.affinity': ['Affinity', 'DotProductAffinity'],
    'mmfss.models.decode_heads.scaleproto_head': ['ScaleProtoHead'],
    'mmfss.models.heads.dcama_head': ['DCAMAHead'],
    'mmfss.models.heads.dmtnet_head': ['DMTNetHead'],
    'mmfss.models.heads.few_shot_scaleproto_head': ['FewShotScaleProtoHead'],
    'mmfss.models.heads.hsnet_head': ['HSNetHead'],
    'mmfss.models.heads.insid3_head': ['INSID3Head'],
    'mmfss.models.heads.matching_head': ['MatchingHead'],
    'mmfss.models.segmentors.base_few_shot_segmentor': [
        'BaseFewShotSegmentor.encode_support', 'BaseFewShotSegmentor.logits'],
    'mmfss.models.segmentors.diffews_segmentor': ['DiffewsSegmentor'],
    'mmfss.models.segmentors.few_shot_segmentor': ['FewShotSegmentor'],
    'mmfss.models.segmentors.unrolled_lrp_segmentor': ['UnrolledLRPSegmentor'],
}
"""What users call first; each has an example."""
OPTIONAL = {'mmfss.models.segmentors.diffews_segmentor': 'diffusers'}
"""Packages that examples need and an installation may lack."""


def examples_of(module: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    return [test for test in found if test.examples]


@pytest.fixture
def quiet() -> Iterator[None]:
    """No log among the results that an example shows, and no trace in the random state of other tests."""
    logging.disable(logging.CRITICAL)
    with torch.random.fork_rng():
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize('module', MODULES)
def test_examples_print_what_they_say(module: str, quiet: None) -> None:
    if module in OPTIONAL:
        pytest.importorskip(OPTIONAL[module], reason='its example needs an optional package')
    for test in examples_of(module):
        report: list[str] = []
        results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
        assert not results.failed, ''.join(report)


@pytest.mark.parametrize('module', SHOWN)
def test_what_users_call_has_an_example(module: str) -> None:
    tested = {test.name.removeprefix(f'{module}.') for test in examples_of(module)}
    assert tested >= set(SHOWN[module])


def test_modules_are_found() -> None:
    assert len(MODULES) > 150
    assert sum(map(len, map(examples_of, MODULES))) >= 35

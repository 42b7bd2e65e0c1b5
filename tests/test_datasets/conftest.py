"""Datasets on disk that several test files read."""
import pytest

from tests.test_datasets.cross_domain_sets import SETS
from tests.test_datasets.layouts import write_coco, write_fss, write_pascal_splits, write_voc


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    return {name: write(tmp_path_factory.mktemp(name)) for name, (_, write) in SETS.items()}


@pytest.fixture(scope='module')
def fss_root(tmp_path_factory):
    return str(write_fss(tmp_path_factory.mktemp('fss'), [f'class{number:02d}' for number in range(12)]))


@pytest.fixture(scope='module')
def voc_root(tmp_path_factory):
    return str(write_voc(tmp_path_factory.mktemp('voc')))


@pytest.fixture(scope='module')
def voc_splits(tmp_path_factory):
    return str(write_pascal_splits(tmp_path_factory.mktemp('splits')))


@pytest.fixture(scope='module')
def coco_root(tmp_path_factory):
    return str(write_coco(tmp_path_factory.mktemp('coco')))

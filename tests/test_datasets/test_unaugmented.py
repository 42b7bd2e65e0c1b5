"""The training pictures of a config without augmentation."""
import pytest

from mmfss.datasets.unaugmented import unaugmented, with_pipeline
from mmfss.utils.config_options import ConfigError

LOAD, LABELS, PACK = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')
RESIZE = dict(type='Resize', scale=(9, 9))
TRAIN = [LOAD, LABELS, dict(type='RandomFlip', prob=0.5), PACK]


def config(dataset: dict, **loaders: dict) -> dict:
    val = dict(type='BaseSegDataset', ann_file='val.txt', pipeline=[LOAD, RESIZE, LABELS, PACK])
    return dict(train_dataloader=dict(dataset=dataset), **(loaders or dict(val_dataloader=dict(dataset=val))))


def test_wrappers_are_left_out_and_labels_are_resized() -> None:
    data = dict(type='BaseSegDataset', ann_file='train.txt', pipeline=TRAIN)
    cfg = config(dict(type='RepeatableDataset', seed=3, dataset=dict(type='RepeatDataset', times=2, dataset=data)))
    assert unaugmented(cfg) == dict(data, pipeline=[LOAD, LABELS, RESIZE, PACK])
    assert data['pipeline'] is TRAIN and len(TRAIN) == 4


def test_concatenated_datasets() -> None:
    parts = [dict(type='BaseSegDataset', ann_file=name, pipeline=TRAIN) for name in 'ab']
    found = unaugmented(config(dict(type='RepeatableDataset', dataset=dict(type='ConcatDataset', datasets=parts))))
    assert [part['ann_file'] for part in found['datasets']] == ['a', 'b']
    assert all(part['pipeline'] == [LOAD, LABELS, RESIZE, PACK] for part in found['datasets'])


def test_pipeline_of_the_test_where_nothing_is_validated() -> None:
    test = dict(dataset=dict(type='BaseSegDataset', pipeline=[LOAD, PACK]))
    assert unaugmented(config(dict(type='BaseSegDataset', pipeline=TRAIN), test_dataloader=test))['pipeline'] == [
        LOAD, PACK]


def test_datasets_without_a_pipeline_stay() -> None:
    data = dict(type='TinySegDataset', size=3)
    assert unaugmented(config(dict(type='RepeatableDataset', dataset=data))) == data
    assert with_pipeline(dict(type='RepeatableDataset', dataset=data), []) == dict(
        type='RepeatableDataset', dataset=data)


def test_no_training_data() -> None:
    with pytest.raises(ConfigError, match='no train_dataloader'):
        unaugmented(dict(train_dataloader=None))

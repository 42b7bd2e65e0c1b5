"""The training pictures of a config without augmentation."""
import copy
from typing import Any, Mapping, Sequence

from mmfss.utils.config_options import ConfigError


def unaugmented(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the training dataset, each picture once, prepared as validation prepares its pictures.

    Wrappers such as :class:`RepeatableDataset` are left out. Labels are loaded before anything is resized, so that they
    keep the size of their pictures.

    Args:
        cfg (Mapping): A config with ``train_dataloader``, and ``val_dataloader`` or ``test_dataloader``.

    Returns:
        dict: Config of the dataset, a copy.

    Raises:
        ConfigError: If the config has no training data.

    Example:
        >>> from mmfss.datasets.unaugmented import unaugmented
        >>> load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
        >>> wrapped = dict(type='BaseSegDataset', ann_file='a.txt', pipeline=[*load, dict(type='RandomFlip', prob=0.5)])
        >>> data = unaugmented(dict(
        ...     train_dataloader=dict(dataset=dict(type='RepeatableDataset', dataset=wrapped)),
        ...     val_dataloader=dict(dataset=dict(type='BaseSegDataset', pipeline=load))))
        >>> data['ann_file'], [step['type'] for step in data['pipeline']]
        ('a.txt', ['LoadImageFromFile', 'LoadAnnotations'])
    """
    if not cfg.get('train_dataloader'):
        raise ConfigError('The config has no train_dataloader, whose images are wanted.')
    loader = cfg.get('val_dataloader') or cfg.get('test_dataloader') or {}
    pipeline = _unwrap(loader.get('dataset') or {}).get('pipeline')
    dataset = _unwrap(cfg['train_dataloader']['dataset'])
    return dataset if pipeline is None else with_pipeline(dataset, _labels_first(pipeline))


def with_pipeline(dataset: Mapping[str, Any], pipeline: Sequence[Mapping]) -> dict[str, Any]:
    """Return the config of a dataset, or of several that are concatenated, with another pipeline."""
    changed = {key: copy.deepcopy(value) for key, value in dataset.items()}
    if 'datasets' in dataset:
        changed['datasets'] = [with_pipeline(part, pipeline) for part in dataset['datasets']]
    elif 'pipeline' in dataset:
        changed['pipeline'] = copy.deepcopy(list(pipeline))
    elif 'dataset' in dataset:
        changed['dataset'] = with_pipeline(dataset['dataset'], pipeline)
    return changed


def _unwrap(dataset: Mapping[str, Any]) -> dict[str, Any]:
    while 'pipeline' not in dataset and isinstance(dataset.get('dataset'), Mapping):
        dataset = dataset['dataset']
    return {key: copy.deepcopy(value) for key, value in dataset.items()}


def _labels_first(pipeline: Sequence[Mapping]) -> list[Mapping]:
    """Move the loading of labels directly behind that of the picture."""
    labels = [step for step in pipeline if step['type'] == 'LoadAnnotations']
    rest = [step for step in pipeline if step['type'] != 'LoadAnnotations']
    return [*rest[:1], *labels, *rest[1:]]
